//! Any bytes on a node's disk: a damaged record is told from a good one.

use synod_journal::record::{self, Assembly};
use synod_types::{AppNdx, Ballot, Decree, Record, Slot, wire};

const APP: AppNdx = AppNdx(1);

pub fn check(input: &[u8]) {
    let _promised = record::decode_promised(APP, input);
    let _chosen = record::decode_chosen(APP, input);
    let _slot = record::slot_of(input);
    let key = record::accepted_key(APP, Slot(1), 0);
    if let Ok(part) = record::decode_part(&key, input) {
        let _decree = Assembly::new(&part).finish();
    }
    // What is behind a checksum that fits.
    if let Ok((ballot, decree)) = wire::decode::<(Ballot, Decree)>(input) {
        let accepted = Record::Accepted { app: APP, slot: Slot(1), ballot, decree: decree.clone() };
        let entries = record::encode(&accepted);
        let parts = entries.iter().map(|entry| record::decode_part(&entry.key, &entry.value));
        let parts = parts.collect::<Result<Vec<_>, _>>().expect("it was just written");
        let mut assembly = Assembly::new(&parts[0]);
        for part in &parts[1..] {
            assembly.push(part).expect("it is of the same record");
        }
        let (read_ballot, read, _) = assembly.finish().expect("it is whole");
        assert_eq!((read_ballot, read), (ballot, decree));
    }
}
