//! What asks for `--force`: changes that are more often a slip than meant.

use std::collections::BTreeMap;

use synod_zone::{Name, Record, Rtype, serial_is_newer};

/// A zone as far as the guard compares it.
pub(super) struct Side<'a> {
    pub(super) serial: u32,
    pub(super) records: &'a [Record],
}

/// Why a change asks for `--force`, in words for each reason; none: it does not.
pub(super) fn objections(zone: &Name, old: &Side<'_>, new: &Side<'_>) -> Vec<String> {
    let mut objections = Vec::new();
    objections.extend(serial(zone, old.serial, new.serial));
    let removed = removed(old.records, new.records);
    let total = old.records.len();
    if removed * 3 > total {
        objections.push(format!(
            "{zone} has {total} records, and {removed} of them would be gone: more than a third. `synod zone diff` \
             shows which; --force removes them"
        ));
    }
    objections
}

/// What is to be said of a serial that is not later than the one before (RFC 1982), and which one would do.
pub(super) fn serial(zone: &Name, old: u32, new: u32) -> Option<String> {
    if serial_is_newer(new, old) {
        return None;
    }
    let next = old.wrapping_add(1);
    Some(format!(
        "serial {new} of {zone} is not later than {old}, which the zone has, so that secondaries would not take the \
         change: write {next} into its SOA record, or give --force"
    ))
}

/// How many records less there are, counted for each name and type: a record that another one takes the place of is not
/// gone.
fn removed(old: &[Record], new: &[Record]) -> usize {
    let count = |records: &[Record]| {
        let mut counts: BTreeMap<(Name, Rtype), usize> = BTreeMap::new();
        for record in records {
            *counts.entry((record.owner.clone(), record.rtype)).or_default() += 1;
        }
        counts
    };
    let (old, new) = (count(old), count(new));
    old.iter().map(|(rrset, count)| count.saturating_sub(new.get(rrset).copied().unwrap_or_default())).sum()
}

#[cfg(test)]
mod tests {
    use synod_zone::zone_file;

    use super::*;

    fn origin() -> Name {
        Name::parse("example.org").unwrap()
    }

    fn records(text: &str) -> Vec<Record> {
        let soa = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\n";
        zone_file::parse(format!("{soa}{text}").as_bytes(), &origin()).unwrap().records
    }

    fn said(old: (u32, &str), new: (u32, &str)) -> Vec<String> {
        let (old_records, new_records) = (records(old.1), records(new.1));
        let old = Side { serial: old.0, records: &old_records };
        objections(&origin(), &old, &Side { serial: new.0, records: &new_records })
    }

    #[test]
    fn more_than_a_third_gone_asks_for_force() {
        let six = "ns A 192.0.2.1\na A 192.0.2.2\nb A 192.0.2.3\nb A 192.0.2.4\n";
        assert!(said((1, six), (2, "ns A 192.0.2.1\na A 192.0.2.2\n")).is_empty(), "two of six");
        let said_of_three = said((1, six), (2, "ns A 192.0.2.1\n"));
        assert_eq!(said_of_three.len(), 1);
        assert!(said_of_three[0].contains("has 6 records, and 3 of them would be gone"), "{said_of_three:?}");
        let moved = "ns A 192.0.2.11\na A 192.0.2.12\nb A 192.0.2.13\nb A 192.0.2.14\n";
        assert!(said((1, six), (2, moved)).is_empty(), "new addresses, nothing is gone");
    }

    #[test]
    fn a_serial_that_does_not_rise_asks_for_force_and_names_one_that_would() {
        assert!(said((7, ""), (8, "")).is_empty());
        for (old, new, next) in [(7, 7, "write 8"), (7, 6, "write 8"), (u32::MAX, u32::MAX, "write 0")] {
            let said = said((old, ""), (new, ""));
            assert!(said.len() == 1 && said[0].contains(next), "{said:?}");
        }
        assert!(said((u32::MAX, ""), (0, "")).is_empty(), "around the end");
    }
}
