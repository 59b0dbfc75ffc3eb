//! Where we say neither what NSD says nor what Knot says, and why.

use crate::messages::Said;
use crate::zones::Question;

const DS: u16 = 43;

/// Why an answer may differ from both; `None`: there is no reason.
pub fn explain(question: &Question, ours: &Said, nsd: &Said, knot: &Said) -> Option<&'static str> {
    let same_answer = ours.answer == nsd.answer && ours.answer == knot.answer && ours.rcode == nsd.rcode;
    let is_child_of_ours = question.name.to_ascii_lowercase().starts_with("child.zone");
    if question.rtype == DS && is_child_of_ours && same_answer && nsd.authority.is_empty() {
        // Where both the parent and the child are here, the parent answers for DS. NSD leaves the parent's NS records out
        // of that answer, and out of no other; Knot leaves them out of every answer; we put them into each.
        return Some("NS records of the parent beside a DS of a child that is here, too");
    }
    let same_authority = ours.authority == nsd.authority;
    let same_but_for_owners = without_owners(&ours.additional) == without_owners(&nsd.additional);
    let has_what_knot_has = knot.additional.iter().all(|record| ours.additional.contains(record));
    if same_answer && same_authority && same_but_for_owners && has_what_knot_has {
        // The target of an MX or SRV that only a wildcard covers: NSD gives the address under a wrong name (its parent's).
        // Knot has the name right, as we have, and leaves the NS records out.
        return Some("the owner of an additional address that comes from a wildcard");
    }
    None
}

fn without_owners(records: &[String]) -> Vec<&str> {
    let mut data: Vec<&str> =
        records.iter().filter_map(|record| record.split_once(' ')).map(|(_, data)| data).collect();
    data.sort_unstable();
    data
}
