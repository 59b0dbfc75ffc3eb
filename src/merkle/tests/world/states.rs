//! Copies of a map that go different ways, each with its tree.

use std::collections::BTreeMap;

use imbl::OrdMap;
use synod_merkle::broken::Broken;
use synod_merkle::{Derived, Entries, Messages};
use synod_types::Digest;

use super::{Chance, plain_root};

pub struct Numbers;

impl Entries for Numbers {
    type Key = u32;
    type Value = u64;

    fn put_key(key: &u32, keys: &mut Messages) {
        keys.push(&[&key.to_be_bytes()]);
    }

    fn put_value(value: &u64, values: &mut Messages) {
        values.push(&[b"value", &value.to_be_bytes()]);
    }
}

#[derive(Clone, Default)]
pub struct State {
    pub map: OrdMap<u32, u64>,
    pub derived: Derived<u32, u64>,
}

impl State {
    pub fn root(&self) -> Digest {
        self.derived.tree::<Numbers>(&self.map).root()
    }

    pub fn plain_root(&self) -> Digest {
        let digest = |value: &u64| Digest::of(&[b"value", &value.to_be_bytes()]);
        let held: BTreeMap<Vec<u8>, Digest> =
            self.map.iter().map(|(key, value)| (key.to_be_bytes().to_vec(), digest(value))).collect();
        plain_root(&held)
    }
}

/// Copies that go different ways, and are asked in any order.
pub fn run(seed: u64, keys: usize, broken: Broken) -> Result<(), String> {
    let mut chance = Chance::of(seed);
    let key = |chance: &mut Chance| u32::try_from(chance.below(keys)).expect("few");
    let first = State { derived: Derived::default().broken(broken), ..State::default() };
    let mut states = vec![first];
    for _ in 0..60 {
        let at = chance.below(states.len());
        match chance.below(4) {
            0 if states.len() < 6 => states.push(states[at].clone()),
            1 if states.len() > 1 => drop(states.swap_remove(at)),
            2 => {
                let asked = states[at].root();
                if asked != states[at].plain_root() || asked != states[at].root() {
                    return Err("the tree is another state's".to_owned());
                }
            }
            _ => {
                for _ in 0..chance.below(keys) {
                    let (key, value) = (key(&mut chance), chance.number() % 3);
                    match value {
                        0 => states[at].map.remove(&key),
                        value => states[at].map.insert(key, value),
                    };
                }
            }
        }
    }
    Ok(())
}
