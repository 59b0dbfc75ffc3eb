//! Any bytes as the snapshot of a machine, of either application: one that is taken makes the same machine again.

use synod_app_kv::Kv;
use synod_app_zones::ZonesApp;
use synod_machine::{Application, Machine};
use synod_types::{AppNdx, ClusterId, Digest};

pub fn check(input: &[u8]) {
    // As they come, and behind a digest that fits.
    let sealed = [input, &Digest::of(&[input]).0].concat();
    for snapshot in [input, &sealed] {
        restore(snapshot, || Box::new(Kv::new()));
        restore(snapshot, || Box::new(ZonesApp::new()));
    }
}

fn restore(snapshot: &[u8], empty: impl Fn() -> Box<dyn Application>) {
    let restore = |snapshot: &[u8]| Machine::restore(ClusterId::default(), AppNdx(1), snapshot, empty());
    let Ok(machine) = restore(snapshot) else { return };
    let again = restore(&machine.snapshot()).expect("a machine takes its own snapshot");
    assert_eq!(again.digest(), machine.digest());
    assert_eq!(again.snapshot(), machine.snapshot());
}
