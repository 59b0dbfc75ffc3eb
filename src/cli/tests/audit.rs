//! Audits of a real cluster: over its nodes' readers' ports, of their data directories when they have stopped, and of
//! everything that was tampered with in between.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

mod auditing;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use auditing::{Ran, Tools, contents, copy};
use serde_json::Value;
use synod_cluster::{Cluster, KV, State, ZONES};
use synod_journal::sled_store::SledStore;
use synod_journal::store::Store as _;
use synod_journal::{Journal, Stamp, record};
use synod_types::{AppNdx, Ballot, Batch, CommandId, Decree, LogPage, Record, SignedCommand, Slot, TimeMs};

const ZONE: &str = "$TTL 3600\n@ SOA ns1 admin 7 7200 900 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n";

/// Everything that the cluster is told. The receipts are in receipts.json.
fn command(tools: &Tools) {
    fs::write(tools.directory.join("example.org.zone"), ZONE).unwrap();
    tools.run(&["keygen", "--type", "ed25519", "--out", "deploy.pem"]).ok();
    let keep = ["--receipt", "receipts.json"];
    let write = |args: &[&str]| tools.run(&[args, &keep].concat());
    write(&["kv", "put", "greeting", "hello"]).ok();
    write(&["commander", "add", "deploy", "--app", "1", "--key", "deploy.pem", "--role", "writer"]).ok();
    write(&["kv", "put", "service/a", "on", "--sign-with", "deploy.pem"]).ok();
    write(&["kv", "put", "service/b", "off", "--sign-with", "deploy.pem"]).ok();
    assert_eq!(write(&["kv", "cas", "greeting", "hi", "--absent"]).code, 3, "it exists");
    write(&["kv", "delete", "service/a"]).ok();
    write(&["zone", "set", "example.org", "example.org.zone"]).ok();
    let printed = tools.json(&["kv", "put", "last", "word"]).ok();
    fs::write(tools.directory.join("printed.json"), printed.out).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_what_is_there_and_nothing_passes_it_by() {
    let mut cluster = Cluster::start(3).await;
    let tools = Tools { client: cluster.path("client.toml"), directory: cluster.directory.path().to_owned() };
    command(&tools);
    // All nodes are as far as the last receipt, so that their logs can be compared.
    let mut chains = BTreeMap::new();
    for n in 0..3 {
        let kv = cluster.readers.state(n, "?min=7&wait=30").await.unwrap();
        chains.insert(n, kv.chain());
        let _: State = cluster.readers.get_json(n, &format!("/v1/apps/{ZONES}?min=1&wait=30")).await.unwrap();
    }
    assert!(chains.values().all(|chain| *chain == chains[&0]));
    let chain = chains[&0].to_string();
    let urls: Vec<String> = cluster.founded.nodes.iter().map(|node| node.plan.http.to_string()).collect();

    running_nodes_agree(&tools, &urls, &chain);
    steps_are_told_and_filtered(&tools, &urls[0]);
    receipts_are_proved(&tools, &["--url", &urls[0]]);
    let recorded = Recorded::of(&cluster, &tools, &urls[0]).await;
    tampered_answers_are_found(&tools, &recorded);

    let data = cluster.path("data-node1");
    let used = tools.run(&["audit", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(used.code, 2, "{}", used.said);
    assert!(used.said.contains("stop its node first"), "{}", used.said);
    cluster.stop_all().await;

    stopped_nodes_have_the_same_chain_and_keep_every_byte(&tools, &cluster, &chain);
    receipts_are_proved(&tools, &["--data-dir", data.to_str().unwrap()]);
    let stamp = Stamp { cluster: cluster.founded.cluster, node: cluster.founded.nodes[0].id };
    tampered_directories_are_found(&tools, &data, stamp, &chain, recorded.made[&3]);
    foreign_things_are_refused(&tools, &data, &urls[0]);
}

fn running_nodes_agree(tools: &Tools, urls: &[String], chain: &str) {
    let urls: Vec<&str> = urls.iter().flat_map(|url| ["--url", url]).collect();
    let text = tools.run(&[&["audit", "--quiet"][..], &urls].concat()).ok().out;
    assert!(text.contains("application 1 (kv) is in order"), "{text}");
    assert!(text.contains(&format!("stateNdx 7  chain {chain}")), "{text}");
    assert!(text.contains("a second"), "{text}");
    let (steps, summary) = tools.json(&[&["audit"][..], &urls].concat()).ok().steps();
    assert_eq!(steps.len(), 8);
    let [kv, zones] = &summary["apps"].as_array().unwrap()[..] else { panic!("{summary}") };
    assert_eq!((&kv["stateNdx"], &kv["chain"]), (&7.into(), &chain.into()));
    assert_eq!((&kv["done"], &kv["refused"], &zones["done"]), (&6.into(), &1.into(), &1.into()));
    // A command may stand in the log twice: it is handed on again when its leader changes.
    let number = |field: &str| kv[field].as_u64().unwrap();
    assert_eq!(number("commands"), 7 + number("repeats") + number("withoutTrace"), "{summary}");
    assert_eq!((number("commands"), number("slots") > 7), (number("signaturesVerified"), true));
    assert_eq!(kv["comparedWith"].as_array().unwrap().len(), 3);
}

fn steps_are_told_and_filtered(tools: &Tools, url: &str) {
    let steps = |args: &[&str]| -> Vec<(u64, String, String)> {
        let (steps, _) = tools.json(&[&["audit", "--url", url], args].concat()).ok().steps();
        let step = |step: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (step["stateNdx"].as_u64().unwrap(), text(&step["commander"]["name"]), text(&step["operation"]))
        };
        steps.iter().map(step).collect()
    };
    let all = steps(&["--app", "kv"]);
    let expected: [(u64, &str, &str); 7] = [
        (1, "admin", "put greeting = hello"),
        (2, "admin", "grant "),
        (3, "deploy", "put service/a = on"),
        (4, "deploy", "put service/b = off"),
        (5, "admin", "cas greeting (absent) = hi"),
        (6, "admin", "delete service/a"),
        (7, "admin", "put last = word"),
    ];
    assert_eq!(all.len(), expected.len(), "{all:?}");
    for ((state, name, operation), expected) in all.iter().zip(expected) {
        assert_eq!((*state, name.as_str()), (expected.0, expected.1));
        assert!(operation.starts_with(expected.2), "{operation}");
    }
    let states = |args: &[&str]| steps(args).into_iter().map(|(state, ..)| state).collect::<Vec<_>>();
    assert_eq!(states(&["--key", "greeting"]), [1, 5]);
    assert_eq!(states(&["--key", "service/*"]), [3, 4, 6]);
    assert_eq!(states(&["--commander", "deploy"]), [3, 4]);
    assert_eq!(states(&["--app", "1", "--since", "6"]), [6, 7]);
    assert!(states(&["--since", "2100-01-01"]).is_empty());
    assert_eq!(states(&["--key", "service/*", "--commander", "admin"]), [6]);
    let zone = steps(&["--zone", "EXAMPLE.org."]);
    assert_eq!(zone.len(), 1);
    assert!(zone[0].2.starts_with("set zone example.org. serial 7 ("), "{zone:?}");

    let text = tools.run(&["audit", "--url", url, "--app", "kv", "--since", "5"]).ok().out;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("STATENDX  TIME "), "{text}");
    assert!(lines[2].contains("refused: conflict: the key last changed in stateNdx 1"), "{text}");
    assert!(lines[3].contains("  admin ") && lines[3].ends_with("done: the key is gone"), "{text}");
    let (steps, _) = tools.json(&["audit", "--url", url, "--app", "kv", "--since", "5"]).ok().steps();
    assert_eq!(steps[0]["outcome"]["refused"]["code"], "conflict");
    assert_eq!(steps[0]["about"][0]["key"], "greeting");
}

fn receipts_are_proved(tools: &Tools, place: &[&str]) {
    let verify = |file: &str| tools.run(&[&["receipt", "verify", file], place].concat());
    let proved = verify("receipts.json").ok().out;
    assert_eq!(proved.matches("proved: application").count(), 7, "{proved}");
    verify("printed.json").ok();
    let kept = fs::read_to_string(tools.directory.join("receipts.json")).unwrap();
    let shown = tools.run(&["receipt", "show", "receipts.json"]).ok().out;
    assert!(shown.contains("refused: conflict"), "{shown}");

    let third: Value = serde_json::from_str(kept.lines().nth(2).unwrap()).unwrap();
    assert_eq!((&third["stateNdx"], &third["format"]), (&3.into(), &"synod/receipt/v1".into()));
    let altered = |field: &str, value: Value| {
        let mut receipt = third.clone();
        receipt[field] = value;
        fs::write(tools.directory.join("altered.json"), receipt.to_string()).unwrap();
        verify("altered.json")
    };
    let wrong = ["application 1, slot ", "stateNdx 3: wrong-receipt: the receipt in altered.json"];
    altered("seq", 99.into()).broken(&wrong);
    altered("commander", "ab".repeat(32).into()).broken(&wrong);
    altered("outcome", serde_json::json!({ "done": "AAAA" })).broken(&wrong);
    altered("chain", "ab".repeat(32).into()).broken(&["stateNdx 3: wrong-chain: "]);
    altered("stateNdx", 4.into()).broken(&["stateNdx 4: wrong-receipt: "]);
    altered("stateNdx", 999.into()).broken(&["stateNdx 7: cut-off: ", "knows of stateNdx 999"]);
    altered("cluster", "ab".repeat(32).into()).broken(&["is of cluster abab"]);
    altered("appNdx", 77.into()).broken(&["is of application 77"]);
    altered("third", "word".into()).ok();
    assert_eq!(verify("example.org.zone").code, 1, "it is no receipt");
    let with_audit = tools.run(&[&["audit", "--quiet", "--receipt", "receipts.json"], place].concat()).ok();
    assert!(with_audit.out.contains("the receipt in receipts.json"), "{}", with_audit.out);
}

/// What the first node answered: of its key-value application, and that one's log.
struct Recorded {
    app: Value,
    page: LogPage,
    /// By stateNdx: the slot that made it, and the command.
    made: BTreeMap<u64, (Slot, CommandId)>,
}

impl Recorded {
    async fn of(cluster: &Cluster, tools: &Tools, url: &str) -> Recorded {
        let readers = &cluster.readers;
        let app = readers.get_json(0, &format!("/v1/apps/{KV}")).await.unwrap();
        let page = readers.get(0, &format!("/v1/apps/{KV}/log")).await.unwrap();
        let (steps, _) = tools.json(&["audit", "--url", url, "--app", "kv"]).ok().steps();
        let made = steps.iter().map(|step| {
            let command = step["command"].as_str().unwrap().parse().unwrap();
            (step["stateNdx"].as_u64().unwrap(), (Slot(step["slot"].as_u64().unwrap()), command))
        });
        Recorded { app, page: LogPage::decode(&page).unwrap(), made: made.collect() }
    }

    fn slot(&self, state_ndx: u64) -> Slot {
        self.made[&state_ndx].0
    }

    /// The batch that made a state, and where in it the command stands.
    fn batch<'a>(&self, page: &'a mut LogPage, state_ndx: u64) -> (&'a mut Batch, usize) {
        let (slot, id) = self.made[&state_ndx];
        let (_, decree) = page.decrees.iter_mut().find(|(at, _)| *at == slot).unwrap();
        batch(decree, id)
    }
}

/// The batch of a decree, and where in it a command stands.
fn batch(decree: &mut Decree, id: CommandId) -> (&mut Batch, usize) {
    let Decree::Batch(batch) = decree else { panic!("there is a batch") };
    let batch = Arc::make_mut(batch);
    let at = batch.commands.iter().position(|command| command.id() == id).unwrap();
    (batch, at)
}

/// A node that answers what it is told to; its address.
fn node_that_answers(app: &Value, page: &LogPage) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (app, page) = (app.to_string().into_bytes(), page.clone());
    std::thread::spawn(move || {
        // Lives as long as the test's process.
        while let Ok((stream, _)) = listener.accept() {
            answer(stream, &app, &page);
        }
    });
    address
}

fn answer(mut stream: TcpStream, app: &[u8], page: &LogPage) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let target = first.split(' ').nth(1).unwrap().to_owned();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let body = match target.split_once("/log?after=") {
        None => app.to_vec(),
        Some((_, rest)) => {
            let after: u64 = rest.split('&').next().unwrap().parse().unwrap();
            let mut page = page.clone();
            page.decrees.retain(|(slot, _)| slot.0 > after);
            page.encode()
        }
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The auditor may have seen enough.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

fn flipped(bytes: &bytes::Bytes, at: usize) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

fn tampered_answers_are_found(tools: &Tools, recorded: &Recorded) {
    let audit = |app: &Value, page: &LogPage| {
        let url = node_that_answers(app, page);
        tools.json(&["audit", "--app", "1", "--url", &url])
    };
    let (steps, _) = audit(&recorded.app, &recorded.page).ok().steps();
    assert_eq!(steps.len(), 7, "what is recorded is in order");

    let found = |kind: &str, slot: Slot, tamper: &dyn Fn(&mut LogPage)| {
        let mut page = recorded.page.clone();
        tamper(&mut page);
        let ran = audit(&recorded.app, &page);
        ran.broken(&[&format!("application 1, slot {slot}, stateNdx "), kind]);
        let last = ran.lines().pop().unwrap();
        assert_eq!((&last["audited"], &last["break"]["kind"]), (&false.into(), &kind.into()));
        assert_eq!((&last["break"]["slot"], &last["break"]["appNdx"]), (&slot.0.into(), &1.into()));
    };
    let (third, last, end) = (recorded.slot(3), recorded.slot(7), recorded.page.applied);
    let command = |page: &mut LogPage, change: &dyn Fn(&mut SignedCommand)| {
        let (batch, at) = recorded.batch(page, 3);
        change(&mut batch.commands[at]);
    };
    found("bad-signature", third, &|page| {
        command(page, &|command| command.body = flipped(&command.body, command.body.len() - 1).into());
    });
    found("bad-signature", third, &|page| {
        command(page, &|command| command.signature = flipped(&command.signature, 3));
    });
    found("other-cluster", third, &|page| {
        command(page, &|command| command.body = flipped(&command.body, 17).into());
    });
    found("hole", third, &|page| page.decrees.retain(|(slot, _)| *slot != third));
    let before = Slot(last.0 - 1);
    found("cut-off", before, &|page| page.decrees.retain(|(slot, _)| *slot <= before));
    found("other-cluster", Slot(1), &|page| page.cluster.0.0[0] ^= 1);
    found("other-application", Slot(1), &|page| page.app = AppNdx(2));
    // What is left is signed; only the chain tells. The third command and the fourth are put into one batch first.
    let join = |page: &mut LogPage| {
        let (batch, at) = recorded.batch(page, 4);
        let fourth = batch.commands.remove(at);
        let (batch, at) = recorded.batch(page, 3);
        batch.commands.insert(at + 1, fourth);
    };
    found("wrong-chain", last, &join);
    found("wrong-chain", last, &|page| {
        join(page);
        let (batch, at) = recorded.batch(page, 3);
        batch.commands.swap(at, at + 1);
    });
    found("wrong-state", end, &|page| {
        let dropped = recorded.made[&4].1;
        for (_, decree) in &mut page.decrees {
            if let Decree::Batch(batch) = decree {
                Arc::make_mut(batch).commands.retain(|command| command.id() != dropped);
            }
        }
    });
    found("wrong-chain", last, &|page| {
        let (batch, _) = recorded.batch(page, 3);
        batch.time = TimeMs(batch.time.0 - 1);
    });

    let lie = |field: &str, value: Value| {
        let mut app = recorded.app.clone();
        app[field] = value;
        audit(&app, &recorded.page)
    };
    lie("chain", "ab".repeat(32).into()).broken(&["stateNdx 7: wrong-chain: ", " says chain abab"]);
    lie("stateNdx", 8.into()).broken(&["wrong-state", "no state before it is known"]);
    lie("applied", 99.into()).broken(&["cut-off", "has applied slot 99"]);
    lie("timeMs", 1.into()).broken(&["wrong-state"]);
    // One node that is honest, and one that is not.
    let mut other = recorded.app.clone();
    other["chain"] = "cd".repeat(32).into();
    let (honest, liar) =
        (node_that_answers(&recorded.app, &recorded.page), node_that_answers(&other, &recorded.page));
    let both = tools.run(&["audit", "-q", "--app", "1", "--url", &honest, "--url", &liar]);
    both.broken(&["wrong-chain: ", &format!("{liar} says chain cdcd")]);
    let gone = tools.run(&["audit", "--url", "127.0.0.1:1"]);
    assert_eq!(gone.code, 5, "{}", gone.said);
}

fn stopped_nodes_have_the_same_chain_and_keep_every_byte(tools: &Tools, cluster: &Cluster, chain: &str) {
    for n in 0..3 {
        let data = cluster.path(&format!("data-{}", cluster.name(n)));
        let before = contents(&data);
        let expect = format!("7:{chain}");
        let args = ["audit", "--data-dir", data.to_str().unwrap(), "--app", "kv", "--expect", &expect];
        let (steps, summary) = tools.json(&args).ok().steps();
        assert_eq!(steps.len(), 7);
        assert_eq!(summary["apps"][0]["chain"], chain);
        assert_eq!(contents(&data), before, "evidence is not altered");
    }
}

fn tampered_directories_are_found(
    tools: &Tools,
    data: &Path,
    stamp: Stamp,
    chain: &str,
    (slot, id): (Slot, CommandId),
) {
    let scratch = tempfile::tempdir().unwrap();
    let tampered = Mutex::new(0);
    let copied = || {
        let mut count = tampered.lock().unwrap();
        *count += 1;
        let to = scratch.path().join(count.to_string());
        copy(data, &to);
        to
    };
    let expect = format!("7:{chain}");
    let audit = |dir: &Path| {
        let dir = dir.to_str().unwrap();
        tools.run(&["audit", "-q", "--data-dir", dir, "--app", "1", "--expect", &expect])
    };
    let decree = {
        let (journal, _) = Journal::open(&copied(), stamp, &[KV], |why| panic!("{why}")).unwrap();
        let mut read = journal.read_blocking(KV, slot, slot, 1 << 20).unwrap();
        journal.close();
        read.remove(0).2
    };
    let named = format!("application 1, slot {slot}, stateNdx 2: ");
    // A record that is written anew has a checksum that fits.
    let rewritten = |change: &dyn Fn(&mut Batch, usize)| {
        let dir = copied();
        let mut decree = decree.clone();
        let (batch, at) = batch(&mut decree, id);
        change(batch, at);
        let (journal, _) = Journal::open(&dir, stamp, &[KV], |why| panic!("{why}")).unwrap();
        let record = Record::Accepted { app: KV, slot, ballot: Ballot::CHOSEN, decree };
        journal.append(vec![record], Box::new(|| {}));
        journal.close();
        audit(&dir)
    };
    let body = |batch: &mut Batch, at: usize| {
        let command = &mut batch.commands[at];
        command.body = flipped(&command.body, command.body.len() - 1).into();
    };
    rewritten(&body).broken(&[&named, "bad-signature"]);
    let signature = |batch: &mut Batch, at: usize| {
        batch.commands[at].signature = flipped(&batch.commands[at].signature, 40);
    };
    rewritten(&signature).broken(&[&named, "bad-signature"]);
    rewritten(&|batch, at| drop(batch.commands.remove(at))).broken(&["--expect 7"]);
    rewritten(&|batch, _| batch.time.0 += 1).broken(&["stateNdx 7: wrong-chain", "--expect 7"]);

    // Records themselves: one that is damaged, one that is missing, one that is not there any more at the end.
    let stored = |change: &dyn Fn(&mut SledStore)| {
        let dir = copied();
        let mut store = SledStore::open(&dir.join("log")).unwrap();
        change(&mut store);
        store.make_durable().unwrap();
        drop(store);
        audit(&dir)
    };
    let key = record::accepted_key(KV, slot, 0);
    stored(&|store| {
        let mut value = store.read(&key).unwrap().unwrap();
        let last = value.len() - 1;
        value[last] ^= 1;
        store.append(vec![record::Entry { key: key.clone(), value }]).unwrap();
    })
    .broken(&[&named, "damaged-record: the record's checksum is wrong"]);
    stored(&|store| {
        store.truncate(&key, &record::accepted_key(KV, slot.next(), 0), 10).unwrap();
    })
    .broken(&[&named, "hole: there is no record, and slot"]);
    // A hint that is behind: the chain that is known proves what was accepted there.
    let hint = || record::encode(&Record::Chosen { app: KV, slot: Slot(slot.0 - 1) });
    let proved = stored(&|store| store.append(hint()).unwrap()).ok().out;
    assert!(proved.contains(&format!("stateNdx 7  chain {chain}")), "{proved}");
    // The log's end is gone with it.
    stored(&|store| {
        store.append(hint()).unwrap();
        let end = record::accepted_end(KV);
        assert!(store.truncate(&key, &end, 1000).unwrap() > 3);
    })
    .broken(&[
        &named.replace(&format!("slot {slot}"), &format!("slot {}", slot.0 - 1)),
        "cut-off: the log ends here",
    ]);
    // Nobody can tell what was chosen behind the hint where it is something else.
    stored(&|store| {
        store.append(hint()).unwrap();
        let record = Record::Accepted { app: KV, slot, ballot: Ballot::ZERO, decree: Decree::Noop };
        store.append(record::encode(&record)).unwrap();
    })
    .broken(&["cut-off: the log ends here, in stateNdx 6"]);
    stored(&|store| {
        let mut value = store.read(&record::chosen_key(KV)).unwrap().unwrap();
        value[0] ^= 1;
        store.append(vec![record::Entry { key: record::chosen_key(KV), value }]).unwrap();
    })
    .broken(&["damaged-record: the record of what is chosen is damaged"]);
    flipped_bits_of_the_file_are_found(&copied(), audit);
}

/// The file itself: whatever bit is flipped, no other result is taken for verified. sled may stop before the damage, or
/// refuse the file; both are found. What was accepted and not chosen, as far as is known, nobody verifies, so nobody misses it.
fn flipped_bits_of_the_file_are_found(dir: &Path, audit: impl Fn(&Path) -> Ran) {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    let path = dir.join("log/db");
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut random = StdRng::seed_from_u64(6);
    let honest = audit(dir).ok().out;
    let result = |out: &str| {
        let is_verified =
            |line: &&str| !line.starts_with("audited ") && !line.contains(" accepted slots behind ");
        out.lines().filter(is_verified).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut found = 0;
    for _ in 0..24 {
        let bit = random.random_range(0..used * 8);
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        let ran = audit(dir);
        if ran.code == 0 {
            assert_eq!(result(&ran.out), result(&honest), "bit {bit}");
        } else {
            assert!([1, 7].contains(&ran.code) && !ran.said.is_empty(), "bit {bit}: {ran:?}");
            found += 1;
        }
    }
    assert!(found > 0, "no flip hit anything");
}

fn foreign_things_are_refused(tools: &Tools, data: &Path, url: &str) {
    let data = data.to_str().unwrap();
    let elsewhere = Cluster::found(3);
    let genesis = elsewhere.path("genesis.json");
    let ran = tools.run(&["audit", "--data-dir", data, "--genesis", genesis.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("--genesis"), "{}", ran.said);
    for (args, expected) in [
        (&["audit"][..], "--data-dir"),
        (&["audit", "--data-dir", data, "--url", url], "cannot be used with"),
        (&["audit", "--data-dir", ".", "--app", "1"], "there is no stamp in it"),
        (&["audit", "--data-dir", data, "--expect", "7:ab"], "64 hex digits"),
        (&["audit", "--data-dir", data, "--app", "nothing"], "it has 1 (kv), 2 (zones)"),
        (&["audit", "--data-dir", data, "--since", "soon"], "a stateNdx or a time"),
    ] {
        let ran = tools.run(args);
        assert_eq!(ran.code, 2, "{args:?} {}", ran.said);
        assert!(ran.said.contains(expected), "{args:?} {}", ran.said);
    }
    let wrong = format!("3:{}", "ab".repeat(32));
    let ran = tools.run(&["audit", "-q", "--data-dir", data, "--app", "1", "--expect", &wrong]);
    ran.broken(&["stateNdx 3: wrong-chain: --expect 3 says chain abab"]);
}
