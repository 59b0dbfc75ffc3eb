//! A tree beside an application's state: derived from it, in no snapshot, and brought up to date when somebody asks.
//!
//! Commands cost nothing for it. Who asks for the tree of a state has what changed since the last state of which the tree is known
//! put into that. What changed is known to the state, or found by comparing the maps: persistent ones know what they share. All
//! copies of a state know of the newest tree that one of them made, whichever that was: equal states have equal trees, wherever
//! they begin.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use synod_types::Digest;
use synod_types::digest::Messages;

use crate::broken::{Broken, Fault};
use crate::path::Path;
use crate::tree::Tree;

/// Changes that are taken at once: each takes some hundred bytes for as long.
const TAKEN_MAX: usize = 1 << 16;

/// Bytes that are hashed at once, but for a larger value.
const HASHED_BYTES_MAX: usize = 1 << 15;

/// A state, as far as a tree is made of it.
pub trait Source {
    /// A key of the map.
    type Key: Ord + Clone;
    /// What it holds.
    type Value: PartialEq + Clone;
    /// What tells a state from those before and behind it.
    type Mark;

    /// What is proved.
    fn map(&self) -> &OrdMap<Self::Key, Self::Value>;

    /// This state's, from which later ones will know what changed. Without one the whole map is kept, to be compared.
    fn mark(&self) -> Option<Self::Mark>;

    /// What changed from a state up to this one: keys with what they hold, if anything; where one comes twice, the last one holds.
    /// Nothing for the same state, and `None` if it is none of those before, or not known any more.
    fn since<'a>(&'a self, mark: &Self::Mark) -> Option<Changes<'a, Self::Key, Self::Value>>;

    /// Adds to `keys` the bytes of a key.
    fn put_key(key: &Self::Key, keys: &mut Messages);

    /// Adds to `values` the bytes whose digest stands for what a key holds.
    fn put_value(value: &Self::Value, values: &mut Messages);
}

/// Keys, and what they hold.
pub type Changes<'a, K, V> = Box<dyn Iterator<Item = (&'a K, Option<&'a V>)> + 'a>;

/// The tree of a [`Source`] and its copies.
pub struct Derived<S: Source> {
    /// What this copy asked for last.
    own: ArcSwapOption<Known<S>>,
    /// What any copy asked for last.
    newest: Arc<ArcSwapOption<Known<S>>>,
    broken: Broken,
}

/// The tree of a state.
struct Known<S: Source> {
    at: At<S>,
    tree: Tree,
}

/// Which state it is.
enum At<S: Source> {
    Mark(S::Mark),
    Map(OrdMap<S::Key, S::Value>),
}

impl<S: Source> Known<S> {
    fn is_of(&self, source: &S) -> bool {
        match &self.at {
            At::Mark(mark) => source.since(mark).is_some_and(|mut changes| changes.next().is_none()),
            At::Map(map) => map.ptr_eq(source.map()),
        }
    }

    /// The tree of a state, from this one.
    fn follow(&self, source: &S) -> Tree {
        match &self.at {
            At::Map(map) => compared::<S>(map, self.tree.clone(), source.map()),
            At::Mark(mark) => match source.since(mark) {
                Some(changes) => changed::<S>(self.tree.clone(), changes),
                None => whole(source),
            },
        }
    }
}

impl<S: Source> Derived<S> {
    /// The same with something wrong.
    #[must_use]
    pub fn broken(self, broken: Broken) -> Derived<S> {
        Derived { broken, ..self }
    }

    /// The tree of this state, which is one of those of which this was copied along.
    pub fn tree(&self, source: &S) -> Tree {
        if let Some(known) = self.own.load().as_ref().filter(|known| known.is_of(source)) {
            return known.tree.clone();
        }
        let tree = match self.newest.load_full() {
            Some(known) if self.broken.is(Fault::WrongBase) => known.tree.clone(),
            Some(known) => known.follow(source),
            None => whole(source),
        };
        let at = source.mark().map_or_else(|| At::Map(source.map().clone()), At::Mark);
        let known = Arc::new(Known { at, tree: tree.clone() });
        self.own.store(Some(Arc::clone(&known)));
        self.newest.store(Some(known));
        tree
    }
}

fn whole<S: Source>(source: &S) -> Tree {
    compared::<S>(&OrdMap::new(), Tree::new(), source.map())
}

/// The tree of `to`, from that of `from`.
fn compared<S: Source>(from: &OrdMap<S::Key, S::Value>, tree: Tree, to: &OrdMap<S::Key, S::Value>) -> Tree {
    changed::<S>(
        tree,
        from.diff(to).map(|difference| match difference {
            DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => (key, Some(value)),
            DiffItem::Remove(key, _) => (key, None),
        }),
    )
}

fn changed<'a, S: Source>(
    tree: Tree,
    changes: impl Iterator<Item = (&'a S::Key, Option<&'a S::Value>)>,
) -> Tree
where
    S::Key: 'a,
    S::Value: 'a,
{
    let mut taken = Taken { tree, ..Taken::default() };
    for (key, value) in changes {
        S::put_key(key, &mut taken.keys);
        if let Some(value) = value {
            S::put_value(value, &mut taken.values);
        }
        taken.holds.push(value.is_some());
        taken.hash_some();
    }
    taken.hash();
    taken.enter();
    taken.tree
}

/// Changes on their way into the tree.
#[derive(Default)]
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
    /// Hashes what has come together, if that is enough.
    fn hash_some(&mut self) {
        if self.keys.bytes() + self.values.bytes() >= HASHED_BYTES_MAX {
            self.hash();
        }
        if self.changes.len() >= TAKEN_MAX {
            self.enter();
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

    fn enter(&mut self) {
        let changes = &self.changes;
        // Places are sorted and not changes, which are large: by the begin of their paths, which seldom is the same for two.
        let mut order: Vec<(u64, usize)> =
            changes.iter().enumerate().map(|(at, (path, _))| (path.first_word(), at)).collect();
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| changes[a.1].0.cmp(&changes[b.1].0)).then(a.1.cmp(&b.1))
        });
        // Of a key that comes twice the last change holds.
        let mut sorted: Vec<(Path, Option<Digest>)> = Vec::with_capacity(order.len());
        for (_, at) in order {
            let change = changes[at];
            match sorted.last_mut() {
                Some(last) if last.0 == change.0 => *last = change,
                _ => sorted.push(change),
            }
        }
        self.changes.clear();
        self.tree = self.tree.with(sorted);
    }
}

impl<S: Source> Default for Derived<S> {
    fn default() -> Derived<S> {
        Derived { own: ArcSwapOption::empty(), newest: Arc::default(), broken: Broken::NOT }
    }
}

impl<S: Source> Clone for Derived<S> {
    fn clone(&self) -> Derived<S> {
        Derived {
            own: ArcSwapOption::new(self.own.load_full()),
            newest: Arc::clone(&self.newest),
            broken: self.broken,
        }
    }
}

/// What is derived is no part of a state: it never makes two of them differ.
impl<S: Source> PartialEq for Derived<S> {
    fn eq(&self, _: &Derived<S>) -> bool {
        true
    }
}

impl<S: Source> Eq for Derived<S> {}

impl<S: Source> fmt::Debug for Derived<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.own.load().as_ref().map(|known| known.tree.root());
        f.debug_struct("Derived").field("root", &root).finish_non_exhaustive()
    }
}
