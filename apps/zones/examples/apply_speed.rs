//! How long one small change takes among 100,000 zones, from the operation to the view that readers get:
//! `cargo run --release -p synod-app-zones --example apply_speed`.

use std::time::{Duration, Instant};

use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesApp, ZonesOp};
use synod_machine::{Application, Context};
use synod_types::limits::CONTENT_BYTES_MAX;
use synod_types::{CommanderId, ContentKey, LeaseMs, StateNdx, TimeMs};
use synod_zone::Zones as _;

const ZONES: usize = 100_000;
const HOSTS: usize = 20;
const CHANGES: usize = 10_000;

fn main() {
    let mut app = ZonesApp::new();
    let mut state_ndx = 0;
    let start = Instant::now();
    for first in (0..ZONES).step_by(1000) {
        let (changes, files): (Vec<_>, Vec<_>) = (first..first + 1000).map(|n| change(n, 1)).unzip();
        apply(&mut app, &mut state_ndx, &ZonesOp::SetMany(changes), &files);
    }
    println!("{ZONES} zones of {} records: {:?}, resident {}", HOSTS + 3, start.elapsed(), resident());

    let names: Vec<ZoneName> = (0..ZONES).map(|n| name(n * 7_919 % ZONES)).collect();
    let start = Instant::now();
    let found = names.iter().filter(|name| app.zone(name.as_wire()).is_some()).count();
    assert_eq!(found, ZONES);
    println!("a look-up: {:?}", start.elapsed() / u32::try_from(ZONES).expect("few"));

    let mut view = app.fork();
    let mut times = Vec::with_capacity(CHANGES);
    for n in 0..CHANGES {
        // A multiplier without a common factor with the number of zones visits them out of order.
        let (change, file) = change(n * 7_919 % ZONES, 2);
        let op = ZonesOp::Set(change);
        let start = Instant::now();
        apply(&mut app, &mut state_ndx, &op, std::slice::from_ref(&file));
        // The one before is dropped, as when a reader's pointer is replaced.
        view = app.fork();
        times.push(start.elapsed());
    }
    report("a change of one zone", times);

    let deletes = (0..CHANGES).map(|n| {
        let op = ZonesOp::Delete { zone: name(n), expected: Expected::Any };
        let start = Instant::now();
        apply(&mut app, &mut state_ndx, &op, &[]);
        view = app.fork();
        start.elapsed()
    });
    report("a deletion", deletes.collect());

    let start = Instant::now();
    let snapshot = app.snapshot();
    let (taken, bytes) = (start.elapsed(), snapshot.len());
    let start = Instant::now();
    let mut restored = ZonesApp::new();
    restored.restore(&snapshot).expect("its own snapshot");
    println!("a snapshot of {bytes} bytes: {taken:?}, restored in {:?}", start.elapsed());
    drop(view);
    largest();
}

/// The largest file that there may be: how long it takes where it enters, and where it is served.
fn largest() {
    let mut file = b"$TTL 3600\n@ SOA ns host 1 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n".to_vec();
    let mut hosts = 0_u32;
    while file.len() < usize::try_from(CONTENT_BYTES_MAX).expect("64 bits") - 64 {
        file.extend_from_slice(
            format!("host-{hosts} A 10.{}.{}.{}\n", hosts >> 16 & 255, hosts >> 8 & 255, hosts & 255)
                .as_bytes(),
        );
        hosts += 1;
    }
    let (content, bytes) = (ContentKey::of(&file), u64::try_from(file.len()).expect("64 bits"));
    let change =
        ZoneChange { zone: name(0), content, bytes, serial: 1, force: false, expected: Expected::Any };
    let op = ZonesOp::Set(change);
    let mut app = ZonesApp::new();
    let start = Instant::now();
    app.check_content(&op.encode()[1..], &content, &file).expect("a zone");
    let checked = start.elapsed();
    let start = Instant::now();
    apply(&mut app, &mut 0, &op, std::slice::from_ref(&file));
    println!(
        "a file of {bytes} bytes, {hosts} records: checked in {checked:?}, applied in {:?}",
        start.elapsed()
    );
}

fn name(n: usize) -> ZoneName {
    ZoneName::parse(&format!("zone-{n:06}.example.org")).expect("a name")
}

fn change(n: usize, serial: u32) -> (ZoneChange, Vec<u8>) {
    let mut file =
        format!("$TTL 3600\n@ SOA ns.example.net. hostmaster.example.net. {serial} 7200 900 1209600 300\n");
    file.push_str("@ NS ns1.example.net.\n@ NS ns2.example.net.\n");
    for host in 0..HOSTS {
        file.push_str(&format!("host-{host} A 192.0.{}.{host}\n", n % 256));
    }
    file.push_str(&format!("; of zone {n}\n"));
    let file = file.into_bytes();
    let change = ZoneChange {
        zone: name(n),
        content: ContentKey::of(&file),
        bytes: u64::try_from(file.len()).expect("small"),
        serial,
        force: false,
        expected: Expected::Any,
    };
    (change, file)
}

/// What a node does: execute, ask for the files, supply them.
fn apply(app: &mut ZonesApp, state_ndx: &mut u64, op: &ZonesOp, files: &[Vec<u8>]) {
    *state_ndx += 1;
    let context = Context {
        state_ndx: StateNdx(*state_ndx),
        time: TimeMs(*state_ndx),
        clock: LeaseMs(0),
        commander: CommanderId::default(),
    };
    app.apply(&context, &op.encode()[1..]).expect("nothing is refused here");
    assert_eq!(app.wanted().len(), files.len());
    for file in files {
        app.supply(&ContentKey::of(file), file);
    }
    assert!(app.wanted().is_empty());
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    let (half, most, max) = (at(50), at(99), times[times.len() - 1]);
    println!("{what}: p50 {half:?}, p99 {most:?}, max {max:?}");
}

/// Memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
