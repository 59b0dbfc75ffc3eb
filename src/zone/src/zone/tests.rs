use proptest::prelude::*;

use super::*;
use crate::zone_file;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn build(text: &str) -> Result<Zone, BuildError> {
    let origin = name("example.com");
    Zone::build(&origin, zone_file::parse(text.as_bytes(), &origin).unwrap().records)
}

fn zone(records: &str) -> Zone {
    build(&format!("$TTL 300\n@ SOA ns host 7 2 3 4 60\n@ NS ns\n{records}")).unwrap()
}

fn text(wire: &[u8]) -> String {
    Name::from_wire(wire).unwrap().to_string()
}

/// What a look-up finds: `=` the name itself or `<` its closest encloser, and what covers it.
fn look_up(zone: &Zone, asked: &str) -> String {
    let Some(found) = zone.find(name(asked).to_lowercase().as_wire()) else { return "outside".to_owned() };
    let cover = if found.exact { found.node.cover() } else { found.node.cover_below() };
    let cover = match cover {
        Cover::None => String::new(),
        Cover::Cut(cut) => format!(" cut {}", text(cut.name())),
        Cover::Dname(above) => format!(" dname {}", text(above.name())),
    };
    format!("{}{}{cover}", if found.exact { "=" } else { "<" }, text(found.node.name()))
}

fn lines(zone: &Zone) -> Vec<String> {
    let line = |record: Record| {
        let data = crate::rdata::display(record.rtype, &record.rdata);
        format!("{} {} {} {data}", record.owner, record.ttl, record.rtype)
    };
    zone.records().map(line).collect()
}

#[test]
fn a_name_is_found_or_its_closest_encloser() {
    let zone = zone("www A 192.0.2.1\na.b.c A 192.0.2.2\n");
    assert_eq!(look_up(&zone, "example.com"), "=example.com.");
    assert_eq!(look_up(&zone, "WWW.Example.COM"), "=www.example.com.");
    assert_eq!(look_up(&zone, "c.example.com"), "=c.example.com.");
    assert_eq!(look_up(&zone, "x.b.c.example.com"), "<b.c.example.com.");
    assert_eq!(look_up(&zone, "x.a.b.c.example.com"), "<a.b.c.example.com.");
    assert_eq!(look_up(&zone, "x.example.com"), "<example.com.");
    assert_eq!(look_up(&zone, "y.x.www.example.com"), "<www.example.com.");
}

#[test]
fn names_outside_the_zone_are_not_found() {
    let zone = zone("www A 192.0.2.1\n");
    assert_eq!(look_up(&zone, "com"), "outside");
    assert_eq!(look_up(&zone, "."), "outside");
    assert_eq!(look_up(&zone, "example.org"), "outside");
    assert_eq!(look_up(&zone, "wwwexample.com"), "outside");
    // The bytes of the origin, but inside a label.
    assert_eq!(look_up(&zone, "a\\007example\\003com"), "outside");
    assert!(zone.find(&[]).is_none());
    assert!(zone.find(b"\x3fabc\x07example\x03com\0").is_none());
}

#[test]
fn a_zone_can_be_the_root_or_one_label() {
    let origin = Name::root();
    let file =
        zone_file::parse(b". 5 SOA . . 1 2 3 4 5\ncom. 5 NS ns.\nns. 5 A 192.0.2.1\n", &origin).unwrap();
    let zone = Zone::build(&origin, file.records).unwrap();
    assert_eq!(look_up(&zone, "."), "=.");
    assert_eq!(look_up(&zone, "www.example.com"), "<com. cut com.");
    assert_eq!(look_up(&zone, "org"), "<.");
    assert_eq!(zone.apex().label_count(), 0);
}

#[test]
fn empty_non_terminals_are_nodes_without_records() {
    let zone = zone("a.b.c A 192.0.2.2\n");
    let found = zone.find(name("b.c.example.com").as_wire()).unwrap();
    assert!(found.exact);
    assert_eq!(found.node.rrsets().count(), 0);
    assert_eq!(found.node.label_count(), 4);
    // The origin, ns is only named; c, b.c, a.b.c.
    assert_eq!(zone.nodes().count(), 4);
}

#[test]
fn the_topmost_delegation_covers_all_below() {
    let zone = zone("sub NS ns\nsub A 192.0.2.1\ndeep.sub NS ns\nx.deep.sub A 192.0.2.1\n");
    assert_eq!(look_up(&zone, "sub.example.com"), "=sub.example.com. cut sub.example.com.");
    assert_eq!(look_up(&zone, "y.sub.example.com"), "<sub.example.com. cut sub.example.com.");
    assert_eq!(look_up(&zone, "deep.sub.example.com"), "=deep.sub.example.com. cut sub.example.com.");
    assert_eq!(look_up(&zone, "y.x.deep.sub.example.com"), "<x.deep.sub.example.com. cut sub.example.com.");
}

#[test]
fn the_name_servers_of_the_origin_are_no_delegation() {
    assert_eq!(look_up(&zone(""), "x.example.com"), "<example.com.");
}

#[test]
fn a_dname_covers_what_is_below_it_and_not_its_owner() {
    let zone = zone("d DNAME example.org.\nd A 192.0.2.1\nx.d A 192.0.2.1\n");
    assert_eq!(look_up(&zone, "d.example.com"), "=d.example.com.");
    assert_eq!(look_up(&zone, "x.d.example.com"), "=x.d.example.com. dname d.example.com.");
    assert_eq!(look_up(&zone, "y.x.d.example.com"), "<x.d.example.com. dname d.example.com.");
    assert_eq!(look_up(&zone, "z.d.example.com"), "<d.example.com. dname d.example.com.");
}

#[test]
fn a_delegation_comes_before_a_dname_of_the_same_owner_and_the_upper_of_the_two_before_the_lower() {
    let zone = zone("a NS ns\na DNAME b\nx.d NS ns\nd DNAME b\nd.s DNAME b\ns NS ns\n");
    assert_eq!(look_up(&zone, "a.example.com"), "=a.example.com. cut a.example.com.");
    assert_eq!(look_up(&zone, "x.a.example.com"), "<a.example.com. cut a.example.com.");
    assert_eq!(look_up(&zone, "x.d.example.com"), "=x.d.example.com. dname d.example.com.");
    assert_eq!(look_up(&zone, "x.d.s.example.com"), "<d.s.example.com. cut s.example.com.");
}

#[test]
fn a_dname_at_the_origin_covers_everything_else() {
    let zone = zone("@ DNAME example.org.\nx A 192.0.2.1\n");
    assert_eq!(look_up(&zone, "example.com"), "=example.com.");
    assert_eq!(look_up(&zone, "x.example.com"), "=x.example.com. dname example.com.");
    assert_eq!(look_up(&zone, "y.example.com"), "<example.com. dname example.com.");
}

#[test]
fn a_node_knows_its_wildcard() {
    let zone = zone("*.w A 192.0.2.1\n*.deep.e A 192.0.2.1\nx.*.w A 192.0.2.1\n");
    let wildcard = |asked: &str| {
        let found = zone.find(name(asked).as_wire()).unwrap();
        found.node.wildcard().map(|node| text(node.name()))
    };
    assert_eq!(wildcard("w.example.com").as_deref(), Some("*.w.example.com."));
    assert_eq!(wildcard("y.w.example.com").as_deref(), Some("*.w.example.com."));
    assert_eq!(wildcard("deep.e.example.com").as_deref(), Some("*.deep.e.example.com."));
    assert_eq!(wildcard("e.example.com"), None);
    assert_eq!(wildcard("*.w.example.com"), None);
    assert_eq!(wildcard("example.com"), None);
}

#[test]
fn records_come_back_in_the_order_of_the_file_with_the_soa_first() {
    let zone = build(
        "$TTL 9\nWww TXT b\n@ NS ns\nwww A 192.0.2.2\n@ SOA ns host 7 2 3 4 60\nwWw TXT a\nns A 192.0.2.1\n@ NS ns2\n",
    );
    assert_eq!(
        lines(&zone.unwrap()),
        [
            "example.com. 9 SOA ns.example.com. host.example.com. 7 2 3 4 60",
            "example.com. 9 NS ns.example.com.",
            "example.com. 9 NS ns2.example.com.",
            "Www.example.com. 9 TXT \"b\"",
            "Www.example.com. 9 TXT \"a\"",
            "Www.example.com. 9 A 192.0.2.2",
            "ns.example.com. 9 A 192.0.2.1",
        ]
    );
}

#[test]
fn equal_records_are_kept_once_and_an_rrset_has_one_ttl() {
    let zone = zone("x 5 MX 65 Mail\nx 9 MX 65 mail\nx 9 MX 97 mail\nt TXT A\nt TXT a\nt TXT A\n");
    assert_eq!(
        lines(&zone)[2..],
        [
            "x.example.com. 5 MX 65 Mail.example.com.",
            "x.example.com. 5 MX 97 mail.example.com.",
            "t.example.com. 300 TXT \"A\"",
            "t.example.com. 300 TXT \"a\"",
        ]
    );
    assert_eq!(zone.record_count(), 6);
}

#[test]
fn serial_and_negative_ttl_come_from_the_soa() {
    let zone = zone("");
    assert_eq!((zone.serial(), zone.negative_ttl()), (7, 60));
    let zone = build("@ 30 SOA ns host 4294967295 2 3 4 60\n").unwrap();
    assert_eq!((zone.serial(), zone.negative_ttl()), (u32::MAX, 30));
    assert_eq!(zone.soa().rtype(), Rtype::SOA);
}

#[test]
fn what_is_no_zone_is_refused() {
    assert_eq!(build("@ 5 NS ns\n").err(), Some(BuildError::NoSoa(name("example.com"))));
    let soa = "@ 5 SOA ns host 7 2 3 4 60\n";
    let second = build(&format!("{soa}@ 5 SOA ns host 8 2 3 4 60\n"));
    assert_eq!(second.err(), Some(BuildError::SecondSoa(name("example.com"))));
    assert!(build(&format!("{soa}{soa}")).is_ok(), "the same SOA twice is one");
    let below = build(&format!("{soa}x 5 SOA ns host 7 2 3 4 60\n"));
    assert_eq!(below.err(), Some(BuildError::SecondSoa(name("x.example.com"))));
    let outside = build(&format!("{soa}example.org. 5 A 192.0.2.1\n"));
    assert_eq!(outside.err(), Some(BuildError::OutOfZone(name("example.org"))));
    // The origin's bytes, but not its labels.
    let outside = build(&format!("{soa}a\\007example\\003com. 5 A 192.0.2.1\n"));
    assert!(matches!(outside.err(), Some(BuildError::OutOfZone(_))));

    let soa = Record {
        owner: name("example.com"),
        rtype: Rtype::SOA,
        rdata: Bytes::from_static(b"\0\x00123"),
        ttl: 5,
    };
    assert_eq!(Zone::build(&name("example.com"), vec![soa]).err(), Some(BuildError::BadSoa));
}

#[test]
fn a_small_record_takes_less_than_a_hundred_bytes() {
    let hosts: String = (0..10_000).map(|host| format!("h{host} A 10.1.2.3\n")).collect();
    let zone = zone(&hosts);
    let bytes = zone.memory_bytes() / zone.record_count();
    assert!(bytes < 100, "{bytes} bytes a record");
}

#[test]
fn many_names_are_all_found_and_others_are_not() {
    let hosts: String = (0..20_000).map(|host| format!("h{host}.z{} A 10.1.2.3\n", host % 7)).collect();
    let zone = zone(&hosts);
    for host in 0..20_000 {
        let asked = format!("h{host}.z{}.example.com", host % 7);
        assert_eq!(look_up(&zone, &asked), format!("={asked}."));
        let asked = format!("h{host}.z{}.example.com", (host + 1) % 7);
        assert_eq!(look_up(&zone, &asked), format!("<z{}.example.com.", (host + 1) % 7));
    }
}

/// Names of up to four labels from a few, below the origin.
fn some_name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "A", "*", "c\\.d"]);
    prop::collection::vec(label, 0..4)
        .prop_map(|labels| labels.iter().chain(&["example", "com"]).copied().collect::<Vec<_>>().join("."))
}

proptest! {
    /// Against a list of records, searched from the origin down.
    #[test]
    fn finds_what_a_search_finds(
        owners in prop::collection::vec((some_name(), prop::sample::select(vec!["A 192.0.2.1", "NS b", "DNAME b"])), 0..12),
        asked in some_name(),
    ) {
        let mut file = "example.com. 5 SOA ns host 7 2 3 4 60\n".to_owned();
        for (owner, data) in &owners {
            file.push_str(&format!("{owner}. 5 {data}\n"));
        }
        let zone = build(&file).unwrap();

        let has = |owner: &Name, data: &str| owners.iter().any(|(name, has)| Name::parse(name).unwrap() == *owner && *has == data);
        let exists = |asked: &Name| {
            *asked == name("example.com") || owners.iter().any(|(owner, _)| name(owner).is_at_or_below(asked))
        };
        let asked = name(&asked);
        let mut path = vec![asked.clone()];
        while *path.last().unwrap() != name("example.com") {
            path.push(path.last().unwrap().parent().unwrap());
        }
        let closest = path.iter().find(|on_path| exists(on_path)).unwrap();
        let cover = path.iter().rev().find_map(|on_path| {
            let is_apex = *on_path == name("example.com");
            if !is_apex && has(on_path, "NS b") {
                Some(format!(" cut {on_path}"))
            } else if *on_path != asked && has(on_path, "DNAME b") {
                Some(format!(" dname {on_path}"))
            } else {
                None
            }
        });
        let sign = if *closest == asked { "=" } else { "<" };
        let expected = format!("{sign}{closest}{}", cover.unwrap_or_default()).to_lowercase();
        prop_assert_eq!(look_up(&zone, &asked.to_string()).to_lowercase(), expected);

        let wildcard = name(&format!("*.{closest}"));
        let found = zone.find(asked.to_lowercase().as_wire()).unwrap();
        prop_assert_eq!(found.node.wildcard().is_some(), exists(&wildcard));
    }
}
