//! A disk under a directory: operations in, and directories out as a power loss may leave them.
//!
//! The model, which is harsher than ext4 and XFS:
//!
//! - A sync that returned makes durable, of its file, all writes and lengths that had returned when it began; of its
//!   directory, the names. Nothing else is durable: not the name of a file that was synced, not another directory.
//! - The bytes of a file: [`crate::file`].
//! - The names of a directory change in order: after the loss they are those of some moment since its last sync. Each
//!   directory has its own moment. A rename within a directory is one change.
//! - A rename from one directory to another may leave the file under both names, but never under none.
//! - What lies in a directory whose name is lost is lost, synced or not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::file::File;
use crate::loss::{Keeping, Loss};
use crate::operation::{Change, Operation};

/// Where a file or a directory is in [`Disk::nodes`].
type Ndx = usize;
const ROOT: Ndx = 0;

/// A disk at some moment. Clones share the bytes of files.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Clone, Default, Debug)]
struct Directory {
    durable: BTreeMap<OsString, Ndx>,
    now: BTreeMap<OsString, Ndx>,
    /// How many changes are durable; [`Directory::pending`] goes on from there.
    durable_changes: usize,
    pending: Vec<NameChange>,
}

/// What changes at once in one directory.
#[derive(Clone, Debug)]
struct NameChange {
    end: u64,
    names: Vec<(OsString, Option<Ndx>)>,
    /// So many changes of that directory are durable where this one is: it has the file that is renamed.
    needs: Option<(Ndx, usize)>,
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        set(&mut self.now, &change.names);
        self.pending.push(change);
    }

    fn changes(&self) -> usize {
        self.durable_changes + self.pending.len()
    }
}

fn set(names: &mut BTreeMap<OsString, Ndx>, changes: &[(OsString, Option<Ndx>)]) {
    for (name, ndx) in changes {
        match ndx {
            Some(ndx) => names.insert(name.clone(), *ndx),
            None => names.remove(name),
        };
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { nodes: vec![Node::Directory(Directory::default())] }
    }
}

impl Disk {
    /// A disk on which all that is in a directory is durable.
    ///
    /// # Errors
    /// The file system's.
    pub fn read(directory: &Path) -> Result<Disk> {
        let mut disk = Disk::default();
        let mut left = vec![(ROOT, directory.to_owned())];
        while let Some((parent, path)) = left.pop() {
            let unreadable = || format!("cannot read {}", path.display());
            for entry in fs::read_dir(&path).with_context(unreadable)? {
                let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
                let ndx = disk.nodes.len();
                if path.is_dir() {
                    disk.nodes.push(Node::Directory(Directory::default()));
                    left.push((ndx, path));
                } else {
                    disk.nodes.push(Node::File(File::durable(fs::read(&path).with_context(unreadable)?)));
                }
                let parent = disk.directory(parent)?;
                parent.durable.insert(name.clone(), ndx);
                parent.now.insert(name, ndx);
            }
        }
        Ok(disk)
    }

    /// Makes a change whose call has returned.
    ///
    /// # Errors
    /// The trace makes no sense.
    pub fn apply(&mut self, operation: &Operation) -> Result<()> {
        let end = operation.end;
        match &operation.change {
            Change::Create(path) => self.create(path, Node::File(File::default()), end),
            Change::MakeDir(path) => self.create(path, Node::Directory(Directory::default()), end),
            Change::Write(path, at, bytes) => {
                self.file(path)?.write(*at, bytes.clone(), end);
                Ok(())
            }
            Change::SetLen(path, len) => {
                self.file(path)?.set_len(*len, end);
                Ok(())
            }
            Change::Extend(path, len) => {
                self.file(path)?.extend(*len, end);
                Ok(())
            }
            Change::Rename(from, to) => self.rename(from, to, end),
            Change::Remove(path) => {
                let (directory, name) = self.place(path)?;
                self.directory(directory)?.change(NameChange { end, names: vec![(name, None)], needs: None });
                Ok(())
            }
            Change::Sync(path) => self.sync(path, operation.begin),
            Change::Send => Ok(()),
        }
    }

    fn create(&mut self, path: &Path, node: Node, end: u64) -> Result<()> {
        let (directory, name) = self.place(path)?;
        if !self.directory(directory)?.now.contains_key(&name) {
            self.nodes.push(node);
            let names = vec![(name, Some(self.nodes.len() - 1))];
            self.directory(directory)?.change(NameChange { end, names, needs: None });
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path, end: u64) -> Result<()> {
        let moved = self.find(from)?;
        let ((source, old), (target, new)) = (self.place(from)?, self.place(to)?);
        let (leaves, comes) = ((old, None), (new, Some(moved)));
        if source == target {
            let names = vec![leaves, comes];
            self.directory(source)?.change(NameChange { end, names, needs: None });
            return Ok(());
        }
        self.directory(target)?.change(NameChange { end, names: vec![comes], needs: None });
        let needs = Some((target, self.directory(target)?.changes()));
        self.directory(source)?.change(NameChange { end, names: vec![leaves], needs });
        Ok(())
    }

    fn sync(&mut self, path: &Path, begin: u64) -> Result<()> {
        let ndx = self.find(path)?;
        match &mut self.nodes[ndx] {
            Node::File(file) => file.sync(begin),
            Node::Directory(directory) => {
                let returned = |change: &&NameChange| change.end <= begin;
                let count = directory.pending.iter().take_while(returned).count();
                let changes = directory.durable_changes + count;
                self.make_durable(ndx, changes)?;
            }
        }
        Ok(())
    }

    fn make_durable(&mut self, ndx: Ndx, changes: usize) -> Result<()> {
        let directory = self.directory(ndx)?;
        let count = changes.saturating_sub(directory.durable_changes);
        directory.durable_changes += count;
        let synced: Vec<NameChange> = directory.pending.drain(..count).collect();
        for change in &synced {
            set(&mut directory.durable, &change.names);
        }
        for (other, changes) in synced.into_iter().filter_map(|change| change.needs) {
            self.make_durable(other, changes)?;
        }
        Ok(())
    }

    /// Builds what the loss leaves in `target`, which is there.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_after(&self, loss: &Loss, random: &mut StdRng, target: &Path) -> Result<()> {
        let moments = self.moments(loss, random);
        let mut left: Vec<(Ndx, PathBuf)> = vec![(ROOT, target.to_owned())];
        while let Some((ndx, path)) = left.pop() {
            match &self.nodes[ndx] {
                Node::File(file) => write(&path, &file.after(loss, random))?,
                Node::Directory(directory) => {
                    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
                    let mut names = directory.durable.clone();
                    let changes = moments[&ndx] - directory.durable_changes;
                    for change in &directory.pending[..changes] {
                        set(&mut names, &change.names);
                    }
                    left.extend(names.into_iter().map(|(name, ndx)| (ndx, path.join(name))));
                }
            }
        }
        Ok(())
    }

    /// How many changes of each directory are left.
    fn moments(&self, loss: &Loss, random: &mut StdRng) -> BTreeMap<Ndx, usize> {
        let directories = self.nodes.iter().enumerate().filter_map(|(ndx, node)| match node {
            Node::Directory(directory) => Some((ndx, directory)),
            Node::File(_) => None,
        });
        let mut moments: BTreeMap<Ndx, usize> = BTreeMap::new();
        for (ndx, directory) in directories.clone() {
            let (least, most) = (directory.durable_changes, directory.changes());
            let moment = match loss.keeping {
                Keeping::Nothing => least,
                Keeping::Everything => most,
                Keeping::Each(newest) if random.random_bool(newest) => most,
                Keeping::Beginning | Keeping::Each(_) => random.random_range(least..=most),
            };
            moments.insert(ndx, moment);
        }
        // What one directory has may need something of another, and so on.
        loop {
            let mut is_settled = true;
            for (ndx, directory) in directories.clone() {
                let kept = moments[&ndx] - directory.durable_changes;
                for (other, changes) in directory.pending[..kept].iter().filter_map(|change| change.needs) {
                    if moments[&other] < changes {
                        moments.insert(other, changes);
                        is_settled = false;
                    }
                }
            }
            if is_settled {
                return moments;
            }
        }
    }

    fn place(&self, path: &Path) -> Result<(Ndx, OsString)> {
        let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
        Ok((self.find(path.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    fn find(&self, path: &Path) -> Result<Ndx> {
        path.iter().try_fold(ROOT, |ndx, name| match &self.nodes[ndx] {
            Node::Directory(directory) => {
                let found = directory.now.get(name);
                found.copied().with_context(|| format!("{} is not there", path.display()))
            }
            Node::File(_) => bail!("{} goes through a file", path.display()),
        })
    }

    fn file(&mut self, path: &Path) -> Result<&mut File> {
        let ndx = self.find(path)?;
        match &mut self.nodes[ndx] {
            Node::File(file) => Ok(file),
            Node::Directory(_) => bail!("{} is a directory", path.display()),
        }
    }

    fn directory(&mut self, ndx: Ndx) -> Result<&mut Directory> {
        match &mut self.nodes[ndx] {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => bail!("a file has no names in it"),
        }
    }
}

/// Zeros are left out: a log has much space ahead, and holes are cheap.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    const BLOCK: usize = 4096;
    let written = || -> io::Result<()> {
        let file = fs::File::create(path)?;
        let zeros = [0; BLOCK];
        let mut at = 0;
        for block in bytes.chunks(BLOCK) {
            if *block != zeros[..block.len()] {
                file.write_all_at(block, at)?;
            }
            at += u64::try_from(block.len()).map_err(io::Error::other)?;
        }
        file.set_len(at)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    /// The files that are there after the loss, in each way that it can go.
    fn left(changes: &[Change]) -> BTreeSet<Vec<String>> {
        let mut disk = Disk::default();
        for (at, change) in (1_u64..).zip(changes) {
            disk.apply(&Operation { begin: 2 * at, end: 2 * at + 1, change: change.clone() }).unwrap();
        }
        let after = |seed| {
            let target = tempfile::tempdir().unwrap();
            let loss = Loss { sector: 512, keeping: Keeping::Each(0.5) };
            disk.write_after(&loss, &mut StdRng::seed_from_u64(seed), target.path()).unwrap();
            let mut found = Vec::new();
            let mut left = vec![target.path().to_owned()];
            while let Some(path) = left.pop() {
                if path.is_dir() {
                    left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                } else {
                    found.push(path.strip_prefix(target.path()).unwrap().to_string_lossy().into_owned());
                }
            }
            found.sort();
            found
        };
        (0..100).map(after).collect()
    }

    fn paths<const N: usize>(sets: [&[&str]; N]) -> BTreeSet<Vec<String>> {
        sets.into_iter().map(|set| set.iter().map(|path| (*path).to_owned()).collect()).collect()
    }

    #[test]
    fn a_name_is_durable_with_its_directory_and_not_with_its_file() {
        let mut changes = vec![Change::Create("a".into()), Change::Sync("a".into())];
        assert_eq!(left(&changes), paths([&[], &["a"]]));
        changes.push(Change::Sync("".into()));
        assert_eq!(left(&changes), paths([&["a"]]));
        changes.push(Change::Remove("a".into()));
        assert_eq!(left(&changes), paths([&[], &["a"]]));
    }

    #[test]
    fn what_lies_in_a_directory_that_is_lost_is_lost() {
        let changes = [Change::MakeDir("d".into()), Change::Create("d/a".into()), Change::Sync("d".into())];
        assert_eq!(left(&changes), paths([&[], &["d/a"]]));
    }

    #[test]
    fn a_renamed_file_has_its_old_name_or_its_new_one() {
        let within =
            [Change::Create("a".into()), Change::Sync("".into()), Change::Rename("a".into(), "b".into())];
        assert_eq!(left(&within), paths([&["a"], &["b"]]));
        let mut across = vec![
            Change::MakeDir("d".into()),
            Change::MakeDir("e".into()),
            Change::Create("d/a".into()),
            Change::Sync("d".into()),
            Change::Sync("".into()),
            Change::Rename("d/a".into(), "e/a".into()),
        ];
        assert_eq!(left(&across), paths([&["d/a"], &["e/a"], &["d/a", "e/a"]]));
        across.push(Change::Sync("d".into()));
        assert_eq!(left(&across), paths([&["e/a"]]));
    }

    #[test]
    fn names_change_in_order() {
        let changes = [Change::Create("a".into()), Change::Create("b".into()), Change::Create("c".into())];
        assert_eq!(left(&changes), paths([&[], &["a"], &["a", "b"], &["a", "b", "c"]]));
    }
}
