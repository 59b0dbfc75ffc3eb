//! `synod kv get --verify`: that a key holds what an answer says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use synod_app_kv::{KvEntry, proof};
use synod_types::StateNdx;

use super::answers::Entry;
use crate::exit::Failure;
use crate::proved::{self, Asked, Proved};

/// Checks an answer on `key` from anybody.
///
/// # Errors
/// [`Failure::Broken`], with what does not hold.
pub(super) fn verify(answer: &[u8], asked: &Asked<'_>, key: &[u8]) -> Result<Proved<KvEntry>, Failure> {
    proved::verify(answer, asked, entry, |root, entry, proof| proof::verify(root, key, entry, proof))
}

/// The entry that JSON says.
fn entry(form: &Entry) -> Result<KvEntry, String> {
    let bytes = |text: &Option<String>, base64: &Option<String>| match (text, base64) {
        (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        (None, Some(base64)) => BASE64.decode(base64).map(Bytes::from).map_err(|why| why.to_string()),
        _ => Err("a key or value is to come in one form".to_owned()),
    };
    Ok(KvEntry {
        key: bytes(&form.key, &form.key_base64)?,
        value: bytes(&form.value, &form.value_base64)?,
        created: StateNdx(form.created),
        changed: StateNdx(form.changed),
        lease: form.lease.map(StateNdx),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use synod_app_kv::{Kv, KvAnswer, KvOp, KvQuery};
    use synod_auth::{Genesis, GenesisAdministrator, GenesisApp, GenesisNode, SigningKey, sign_statement};
    use synod_gateway::{BundleForm, ProofForm};
    use synod_machine::{Application as _, Context};
    use synod_types::{
        AppNdx, CertificateBundle, ClusterId, CommanderId, Configuration, Digest, Epoch, LeaseMs, NodeId,
        Slot, StateCertificate, Statement, TimeMs,
    };

    use super::*;

    /// Three nodes that sign what the application is.
    struct Stage {
        keys: Vec<SigningKey>,
        genesis: Genesis,
        cluster: ClusterId,
        kv: Kv,
        state_ndx: u64,
    }

    impl Stage {
        fn set() -> Stage {
            Stage::of(1)
        }

        /// Always the same nodes for the same `first`.
        fn of(first: u8) -> Stage {
            let key = |n: u8| {
                // RFC 8410: an Ed25519 key is these bytes and a seed.
                let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
                SigningKey::from_pkcs8_der(&[&head[..], &[n; 32]].concat()).unwrap()
            };
            let keys: Vec<_> = (first..first + 3).map(key).collect();
            let node = |(n, key): (usize, &SigningKey)| GenesisNode {
                name: format!("node{}", n + 1),
                key: key.public().clone(),
            };
            let nodes = keys.iter().enumerate().map(node).collect();
            let administrator = key(first + 3).public().clone();
            let administrators = vec![GenesisAdministrator { name: "ada".to_owned(), key: administrator }];
            let apps = vec![GenesisApp { ndx: AppNdx(1), name: "kv".to_owned(), kind: "kv".to_owned() }];
            let mut genesis = Genesis::new("test", TimeMs(1), nodes, administrators, apps);
            genesis.nonce = [7; 16];
            let (genesis, cluster) = Genesis::parse(&genesis.to_bytes()).unwrap();
            let mut stage = Stage { keys, genesis, cluster, kv: Kv::new(), state_ndx: 0 };
            for n in 0..30 {
                stage.put(&format!("key {n}"), format!("value {n}").as_bytes());
            }
            stage.put("raw", &[0xff, 0]);
            stage
        }

        fn put(&mut self, key: &str, value: &[u8]) {
            self.state_ndx += 1;
            let context = Context {
                state_ndx: StateNdx(self.state_ndx),
                time: TimeMs(1),
                clock: LeaseMs(1),
                commander: CommanderId::default(),
            };
            let op = KvOp::Put {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: Bytes::copy_from_slice(value),
            };
            self.kv.apply(&context, &op.encode()[1..]).unwrap();
        }

        /// What a node answers, whose certificate these signed.
        fn answer(&self, key: &str, signers: &[usize]) -> Value {
            let members: Vec<NodeId> = self.genesis.founding_voters().members;
            let configuration = Configuration { epoch: Epoch(0), members };
            let statement = Statement {
                app: AppNdx(1),
                epoch: Epoch(0),
                members: configuration.digest(),
                slot: Slot(40),
                state_ndx: StateNdx(self.state_ndx),
                chain: Digest([3; 32]),
                root: self.kv.root(),
            };
            let mut signatures: Vec<_> =
                signers.iter().map(|n| sign_statement(&self.keys[*n], self.cluster, &statement)).collect();
            signatures.sort_by_key(|signature| signature.signer());
            let certificate = StateCertificate { statement, members: configuration.members, signatures };
            let bundle = CertificateBundle { cluster: self.cluster, handovers: Vec::new(), certificate };
            let query = KvQuery::Prove { key: Bytes::copy_from_slice(key.as_bytes()) };
            let answer = self.kv.query(StateNdx(0), &query.encode()).unwrap();
            let KvAnswer::Proved { entry, proof } = KvAnswer::decode(&answer).unwrap() else { panic!() };
            let entry = entry.map(|entry| {
                let mut form = json!({ "created": entry.created, "changed": entry.changed });
                form["key"] = key.into();
                match std::str::from_utf8(&entry.value) {
                    Ok(value) => form["value"] = value.into(),
                    Err(_) => form["valueBase64"] = BASE64.encode(&entry.value).into(),
                }
                form
            });
            json!({
                "appNdx": 1,
                "stateNdx": self.state_ndx,
                "entry": entry,
                "proof": ProofForm::of(&proof),
                "certificate": BundleForm::of(&bundle),
            })
        }

        fn asked(&self, app: AppNdx, min: Option<u64>) -> Asked<'_> {
            Asked { genesis: &self.genesis, cluster: self.cluster, app, min }
        }

        fn verify(&self, answer: &Value, key: &str) -> Result<Proved<KvEntry>, String> {
            let answer = serde_json::to_vec(answer).unwrap();
            verify(&answer, &self.asked(AppNdx(1), None), key.as_bytes()).map_err(|why| why.to_string())
        }
    }

    #[test]
    fn a_value_and_its_absence_are_proved_from_genesis_on() {
        let stage = Stage::set();
        let proved = stage.verify(&stage.answer("key 7", &[0, 2]), "key 7").unwrap();
        assert_eq!((proved.statement.state_ndx, proved.signed), (StateNdx(31), (2, 3)));
        assert_eq!(proved.held.unwrap().value, "value 7");
        let raw = stage.verify(&stage.answer("raw", &[0, 1, 2]), "raw").unwrap();
        assert_eq!(raw.held.unwrap().value, &[0xff, 0][..]);
        assert_eq!(stage.verify(&stage.answer("none", &[0, 1]), "none").unwrap().held, None);
    }

    #[test]
    fn whatever_was_changed_proves_nothing() {
        let stage = Stage::set();
        let good = stage.answer("key 7", &[0, 1]);
        let why = |change: &dyn Fn(&mut Value)| {
            let mut answer = good.clone();
            change(&mut answer);
            stage.verify(&answer, "key 7").expect_err("it was changed")
        };
        let says = |text: String, words: &str| assert!(text.contains(words), "{text}");
        says(why(&|it| it["entry"]["value"] = "value 8".into()), "holds something else");
        says(why(&|it| it["entry"]["changed"] = 9.into()), "holds something else");
        says(why(&|it| it["entry"]["lease"] = 9.into()), "holds something else");
        says(why(&|it| it["entry"]["key"] = "key 8".into()), "another key");
        says(why(&|it| it["entry"] = Value::Null), "and there is one");
        says(why(&|it| it["stateNdx"] = 99.into()), "the certificate is of state 31");
        says(why(&|it| it["proof"]["steps"][0][0] = Value::Null), "leads to root");
        says(why(&|it| it["proof"]["leaf"] = Value::Null), "leads to root");
        says(why(&|it| it["proof"] = stage.answer("key 8", &[0])["proof"].clone()), "nothing is proved");
        says(why(&|it| it["certificate"]["certificate"]["root"] = "00".repeat(32).into()), "did not sign");
        says(why(&|it| it["certificate"]["certificate"]["stateNdx"] = 99.into()), "did not sign");
        says(why(&|it| *it = json!("nothing")), "nothing is proved");
        says(stage.verify(&good, "key 8").unwrap_err(), "nothing is proved");

        let few = stage.answer("key 7", &[1]);
        says(stage.verify(&few, "key 7").unwrap_err(), "have to");
        let stranger = Stage::of(100);
        says(stranger.verify(&good, "key 7").unwrap_err(), "cluster");
        let answer = serde_json::to_vec(&good).unwrap();
        let asked = |app, min| verify(&answer, &stage.asked(app, min), b"key 7");
        says(asked(AppNdx(2), None).unwrap_err().to_string(), "of application 1, and not of 2");
        says(asked(AppNdx(1), Some(32)).unwrap_err().to_string(), "an earlier one");
        assert!(asked(AppNdx(1), Some(31)).is_ok());
    }

    /// What clients in other languages have to take for proved; `UPDATE_PROOFS=1` writes what is missing, and nothing anew.
    #[test]
    fn the_answers_for_other_languages_are_those_that_were_committed() {
        let stage = Stage::set();
        let answers: Vec<_> = ["key 7", "raw", "key 0", "none", "no such key", ""]
            .iter()
            .map(|key| json!({ "key": key, "answer": stage.answer(key, &[0, 2]) }))
            .collect();
        let genesis = String::from_utf8(stage.genesis.to_bytes()).unwrap();
        let table = json!({ "genesis": genesis, "appNdx": 1, "answers": answers });
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/python/tests/proofs.json");
        if std::env::var_os("UPDATE_PROOFS").is_some() && !path.exists() {
            std::fs::write(&path, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(committed, table, "what was proved once must stay so");
        for row in committed["answers"].as_array().unwrap() {
            stage.verify(&row["answer"], row["key"].as_str().unwrap()).unwrap();
        }
    }
}
