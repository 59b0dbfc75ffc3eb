//! A tree beside an application's state: derived from it, in no snapshot, and brought up to date when somebody asks.
//!
//! Commands cost nothing for it. Who asks for the tree of a state has the states compared, that one and the last one of
//! which the tree is known: persistent maps know what they share, so that costs what changed. All copies of a state
//! know of the newest tree that one of them made, whichever that was: equal states have equal trees, wherever they begin. Until
//! somebody asks for a newer one, that keeps the map alive from which it was made.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use synod_types::Digest;

use crate::broken::{Broken, Fault};
use crate::many::Messages;
use crate::path::Path;
use crate::tree::Tree;

/// Changes that are taken at once: each takes some hundred bytes for as long.
const TAKEN_MAX: usize = 1 << 16;

/// Bytes that are hashed at once, but for a larger value.
const HASHED_BYTES_MAX: usize = 1 << 18;

/// The tree of a map from keys to what they hold.
pub struct Derived<K, V> {
    /// What this copy asked for last.
    own: ArcSwapOption<Known<K, V>>,
    /// What any copy asked for last.
    newest: Arc<ArcSwapOption<Known<K, V>>>,
    broken: Broken,
}

struct Known<K, V> {
    map: OrdMap<K, V>,
    tree: Tree,
}

/// How entries are hashed.
pub trait Entries {
    /// A key of the map.
    type Key: Ord + Clone;
    /// What it holds.
    type Value: PartialEq + Clone;

    /// Adds to `keys` the bytes of a key.
    fn put_key(key: &Self::Key, keys: &mut Messages);

    /// Adds to `values` the bytes whose digest stands for what a key holds.
    fn put_value(value: &Self::Value, values: &mut Messages);
}

impl<K: Ord + Clone, V: PartialEq + Clone> Derived<K, V> {
    /// The same with something wrong.
    #[must_use]
    pub fn broken(self, broken: Broken) -> Derived<K, V> {
        Derived { broken, ..self }
    }

    /// The tree of `map`, in which `E` says what is hashed.
    pub fn tree<E: Entries<Key = K, Value = V>>(&self, map: &OrdMap<K, V>) -> Tree {
        let own = self.own.load();
        if let Some(known) = own.as_ref().filter(|known| known.map.ptr_eq(map)) {
            return known.tree.clone();
        }
        let newest = self.newest.load_full();
        let tree = match &newest {
            Some(known) if self.broken.is(Fault::WrongBase) => known.tree.clone(),
            Some(known) => follow::<E>(&known.map, known.tree.clone(), map),
            None => follow::<E>(&OrdMap::new(), Tree::new(), map),
        };
        let known = Arc::new(Known { map: map.clone(), tree: tree.clone() });
        self.own.store(Some(Arc::clone(&known)));
        self.newest.store(Some(known));
        tree
    }
}

/// The tree of `to`, from that of `from`.
fn follow<E: Entries>(from: &OrdMap<E::Key, E::Value>, tree: Tree, to: &OrdMap<E::Key, E::Value>) -> Tree {
    let mut taken = Taken::new(tree);
    for difference in from.diff(to) {
        match difference {
            DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
                E::put_key(key, &mut taken.keys);
                E::put_value(value, &mut taken.values);
                taken.holds.push(true);
            }
            DiffItem::Remove(key, _) => {
                E::put_key(key, &mut taken.keys);
                taken.holds.push(false);
            }
        }
        taken.hash_some();
    }
    taken.finish()
}

/// Differences on their way into the tree.
struct Taken {
    tree: Tree,
    /// Those that are hashed.
    changes: Vec<(Path, Option<Digest>)>,
    keys: Messages,
    values: Messages,
    /// Which of the keys hold a value.
    holds: Vec<bool>,
}

impl Taken {
    fn new(tree: Tree) -> Taken {
        let messages = || Messages::with_capacity(0, 0);
        Taken { tree, changes: Vec::new(), keys: messages(), values: messages(), holds: Vec::new() }
    }

    /// Hashes what has come together, if that is enough.
    fn hash_some(&mut self) {
        if self.keys.bytes() + self.values.bytes() >= HASHED_BYTES_MAX {
            self.hash();
        }
        if self.changes.len() >= TAKEN_MAX {
            self.tree = self.tree.with(std::mem::take(&mut self.changes));
        }
    }

    fn hash(&mut self) {
        let mut values = self.values.hash().into_iter();
        let keys = self.keys.hash().into_iter();
        let change = |(key, holds): (Digest, bool)| {
            (Path(key), holds.then(|| values.next().expect("a value for each key that holds one")))
        };
        self.changes.extend(keys.zip(self.holds.drain(..)).map(change));
    }

    fn finish(mut self) -> Tree {
        self.hash();
        self.tree.with(self.changes)
    }
}

impl<K, V> Default for Derived<K, V> {
    fn default() -> Derived<K, V> {
        Derived { own: ArcSwapOption::empty(), newest: Arc::default(), broken: Broken::NOT }
    }
}

impl<K, V> Clone for Derived<K, V> {
    fn clone(&self) -> Derived<K, V> {
        Derived {
            own: ArcSwapOption::new(self.own.load_full()),
            newest: Arc::clone(&self.newest),
            broken: self.broken,
        }
    }
}

/// What is derived is no part of a state: it never makes two of them differ.
impl<K, V> PartialEq for Derived<K, V> {
    fn eq(&self, _: &Derived<K, V>) -> bool {
        true
    }
}

impl<K, V> Eq for Derived<K, V> {}

impl<K, V> fmt::Debug for Derived<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.own.load().as_ref().map(|known| known.tree.root());
        f.debug_struct("Derived").field("root", &root).finish_non_exhaustive()
    }
}
