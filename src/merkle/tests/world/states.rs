//! Copies of a map that go different ways, each with its tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use synod_merkle::broken::Broken;
use synod_merkle::{Changes, Derived, Messages, Source};
use synod_types::Digest;

use super::{Chance, plain_root};

/// A mark, and what was set.
type Logged = (Arc<()>, u32, Option<u64>);

/// Numbers by numbers. Where there is a log, it knows what changed, for as long as it goes back.
#[derive(Clone, Default)]
pub struct Numbers {
    pub map: OrdMap<u32, u64>,
    pub log: Option<Vec<Logged>>,
}

impl Numbers {
    pub fn set(&mut self, key: u32, value: Option<u64>) {
        match value {
            Some(value) => self.map.insert(key, value),
            None => self.map.remove(&key),
        };
        if let Some(log) = &mut self.log {
            log.push((Arc::new(()), key, value));
        }
    }
}

impl Source for Numbers {
    type Key = u32;
    type Value = u64;
    type Mark = Arc<()>;

    fn map(&self) -> &OrdMap<u32, u64> {
        &self.map
    }

    fn mark(&self) -> Option<Arc<()>> {
        self.log.as_ref()?.last().map(|(mark, ..)| Arc::clone(mark))
    }

    fn since<'a>(&'a self, mark: &Arc<()>) -> Option<Changes<'a, u32, u64>> {
        let log = self.log.as_ref()?;
        let at = log.iter().position(|(known, ..)| Arc::ptr_eq(known, mark))?;
        Some(Box::new(log[at + 1..].iter().map(|(_, key, value)| (key, value.as_ref()))))
    }

    fn put_key(key: &u32, keys: &mut Messages) {
        keys.push(&[&key.to_be_bytes()]);
    }

    fn put_value(value: &u64, values: &mut Messages) {
        values.push(&[b"value", &value.to_be_bytes()]);
    }
}

#[derive(Clone, Default)]
pub struct State {
    pub numbers: Numbers,
    pub derived: Derived<Numbers>,
}

impl State {
    pub fn root(&self) -> Digest {
        self.derived.tree(&self.numbers).root()
    }

    pub fn plain_root(&self) -> Digest {
        let digest = |value: &u64| Digest::of(&[b"value", &value.to_be_bytes()]);
        let held: BTreeMap<Vec<u8>, Digest> =
            self.numbers.map.iter().map(|(key, value)| (key.to_be_bytes().to_vec(), digest(value))).collect();
        plain_root(&held)
    }
}

/// Copies that go different ways, and are asked in any order.
pub fn run(seed: u64, keys: usize, broken: Broken) -> Result<(), String> {
    let mut chance = Chance::of(seed);
    let key = |chance: &mut Chance| u32::try_from(chance.below(keys)).expect("few");
    let log = seed.is_multiple_of(2).then(Vec::new);
    let numbers = Numbers { log, ..Numbers::default() };
    let first = State { derived: Derived::default().broken(broken), numbers };
    let mut states = vec![first];
    for _ in 0..60 {
        let at = chance.below(states.len());
        match chance.below(4) {
            0 if chance.below(4) == 0 => {
                // What is long ago is not known any more.
                if let Some(log) = &mut states[at].numbers.log {
                    log.drain(..log.len() / 2);
                }
            }
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
                    states[at].numbers.set(key, Some(value).filter(|value| *value > 0));
                }
            }
        }
    }
    Ok(())
}
