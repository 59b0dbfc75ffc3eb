//! Calls as changes of one directory: what of a trace a disk has to do with, in paths below that directory.
//!
//! What the model has no answer for is refused, never passed over: a mapping that writes, io_uring, a file that is
//! written at a position which the trace does not tell.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::trace::{Call, descriptor, strings};

/// A change, or a point that promises are held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// When it began, in nanoseconds since 1970.
    pub begin: u64,
    /// When it had returned; [`u64::MAX`] if it never did.
    pub end: u64,
    /// What it is.
    pub change: Change,
}

/// What an operation does. Paths are relative to the recorded directory; an empty one is that directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A file is there from now on.
    Create(PathBuf),
    /// So is a directory.
    MakeDir(PathBuf),
    /// Bytes, from a position on.
    Write(PathBuf, u64, Arc<[u8]>),
    /// A new length.
    SetLen(PathBuf, u64),
    /// At least this length.
    Extend(PathBuf, u64),
    /// A new name; whatever had it is gone.
    Rename(PathBuf, PathBuf),
    /// A name is gone.
    Remove(PathBuf),
    /// A file or a directory is durable when this returns. fsync and fdatasync alike: the model knows no metadata that
    /// fdatasync would leave out.
    Sync(PathBuf),
    /// Something left the process.
    Send,
}

/// Takes from `calls` what concerns the directory `name` in `parent`, and the names in `parent` as well.
///
/// # Errors
/// Something that the model has no answer for.
pub fn operations(calls: &[Call], parent: &Path, name: &str) -> Result<Vec<Operation>> {
    let mut reader = Reader { parent, name, positions: BTreeMap::new() };
    let mut operations = Vec::new();
    for call in calls.iter().filter(|call| !call.failed()) {
        let changes = reader.changes(call).with_context(|| describe(call))?;
        let (begin, end) = (call.begin, call.end);
        operations.extend(changes.into_iter().map(|change| Operation { begin, end, change }));
    }
    Ok(operations)
}

fn describe(call: &Call) -> String {
    let arguments = call.arguments.iter().map(|argument| argument.chars().take(400).collect::<String>());
    format!("{}({}) = {}", call.name, arguments.collect::<Vec<_>>().join(", "), call.result)
}

struct Reader<'a> {
    parent: &'a Path,
    name: &'a str,
    /// Where the next `write` to a descriptor goes; only of files that were opened for writing alone.
    positions: BTreeMap<String, u64>,
}

impl Reader<'_> {
    fn changes(&mut self, call: &Call) -> Result<Vec<Change>> {
        let one = |change: Option<Change>| Ok(change.into_iter().collect());
        match call.name.as_str() {
            "openat" => self.open(call, 1),
            "open" => self.open(call, 0),
            "write" | "writev" => {
                let (number, _) = descriptor(call.argument(0)?)?;
                let Some(path) = self.open_file(call)? else { return Ok(Vec::new()) };
                let position = self.positions.get_mut(number).context("the position is not known")?;
                let bytes = written(call, 1)?;
                let at = *position;
                *position += u64::try_from(bytes.len())?;
                Ok(vec![Change::Write(path, at, bytes)])
            }
            "pwrite64" | "pwritev" => {
                let Some(path) = self.open_file(call)? else { return Ok(Vec::new()) };
                let at = call.argument(3)?.parse().context("a position")?;
                Ok(vec![Change::Write(path, at, written(call, 1)?)])
            }
            "ftruncate" => {
                let length = call.argument(1)?.parse().context("a length")?;
                one(self.open_file(call)?.map(|path| Change::SetLen(path, length)))
            }
            "fallocate" => {
                let Some(path) = self.open_file(call)? else { return Ok(Vec::new()) };
                ensure!(call.argument(1)? == "0", "fallocate that does more than allocate");
                let (at, length): (u64, u64) = (call.argument(2)?.parse()?, call.argument(3)?.parse()?);
                Ok(vec![Change::Extend(path, at + length)])
            }
            "mkdir" => one(self.named(call.argument(0)?)?.map(Change::MakeDir)),
            "unlink" | "rmdir" => one(self.named(call.argument(0)?)?.map(Change::Remove)),
            "unlinkat" => {
                let Ok(path) = self.named(call.argument(1)?) else {
                    bail!("a path relative to a descriptor")
                };
                one(path.map(Change::Remove))
            }
            "rename" => match (self.named(call.argument(0)?)?, self.named(call.argument(1)?)?) {
                (Some(from), Some(to)) => Ok(vec![Change::Rename(from, to)]),
                (None, None) => Ok(Vec::new()),
                _ => bail!("a name that comes into the directory or leaves it"),
            },
            "fsync" | "fdatasync" => one(self.open_file(call)?.map(Change::Sync)),
            // It neither empties the disk's cache nor writes metadata: nothing is durable by it.
            "sync_file_range" => Ok(Vec::new()),
            "lseek" => {
                let (number, _) = descriptor(call.argument(0)?)?;
                ensure!(
                    self.open_file(call)?.is_none() || !self.positions.contains_key(number),
                    "a file that is written one piece after another, and sought in"
                );
                Ok(Vec::new())
            }
            "mmap" => {
                let (protection, flags) = (call.argument(2)?, call.argument(3)?);
                let writes = protection.contains("PROT_WRITE") && flags.contains("MAP_SHARED");
                ensure!(
                    !writes || flags.contains("MAP_ANONYMOUS"),
                    "a mapping through which a file is written"
                );
                Ok(Vec::new())
            }
            "sendmsg" | "sendmmsg" | "sendto" => Ok(vec![Change::Send]),
            other => bail!("the model has no {other}"),
        }
    }

    /// A call whose argument at `place` is the path, with flags behind it.
    fn open(&mut self, call: &Call, place: usize) -> Result<Vec<Change>> {
        if call.result.starts_with('?') {
            // It may have created a file; nobody can have written to it.
            let flags = call.argument(place + 1)?;
            return Ok(match self.named(call.argument(place)?)? {
                Some(path) if flags.contains("O_CREAT") => vec![Change::Create(path)],
                _ => Vec::new(),
            });
        }
        let (number, path) = descriptor(&call.result)?;
        self.positions.remove(number);
        let Some(path) = self.below(&path)? else { return Ok(Vec::new()) };
        let flags: Vec<&str> = call.argument(place + 1)?.split('|').collect();
        let has = |flag: &str| flags.contains(&flag);
        ensure!(
            !has("O_TMPFILE") && !has("O_APPEND"),
            "a file that is opened in a way that the model has not"
        );
        if has("O_WRONLY") {
            self.positions.insert(number.to_owned(), 0);
        }
        let mut changes = Vec::new();
        if has("O_CREAT") {
            changes.push(Change::Create(path.clone()));
        }
        if has("O_TRUNC") {
            changes.push(Change::SetLen(path, 0));
        }
        Ok(changes)
    }

    /// The path behind the descriptor that is the first argument, if it is one of ours.
    fn open_file(&self, call: &Call) -> Result<Option<PathBuf>> {
        self.below(&descriptor(call.argument(0)?)?.1)
    }

    /// The path that an argument names, if it is one of ours.
    fn named(&self, argument: &str) -> Result<Option<PathBuf>> {
        let path = strings(argument)?;
        ensure!(
            path.first() == Some(&b'/'),
            "a relative path: the node has to be started with absolute ones"
        );
        self.below(&path)
    }

    fn below(&self, path: &[u8]) -> Result<Option<PathBuf>> {
        let Ok(path) = Path::new(OsStr::from_bytes(path)).strip_prefix(self.parent) else { return Ok(None) };
        let is_ours = path.as_os_str().is_empty() || path.starts_with(self.name);
        ensure!(!path.to_string_lossy().ends_with("(deleted)"), "a file that has no name any more");
        Ok(is_ours.then(|| path.to_owned()))
    }
}

/// What was written of a buffer: as much as the call returned, or all of it if it never did.
fn written(call: &Call, buffer: usize) -> Result<Arc<[u8]>> {
    let mut bytes = strings(call.argument(buffer)?)?;
    if !call.result.starts_with('?') {
        bytes.truncate(call.result.parse().context("a number of bytes")?);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;
    use crate::trace;

    fn quoted(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn read(lines: &[String]) -> Result<Vec<Change>> {
        let text: String =
            lines.iter().enumerate().map(|(at, line)| format!("1 1.{at:03} {line} <0.0001>\n")).collect();
        let operations = operations(&trace::read(text.as_bytes())?, Path::new("/c"), "data")?;
        Ok(operations.into_iter().map(|operation| operation.change).collect())
    }

    #[test]
    fn a_file_is_created_written_and_synced_and_what_lies_elsewhere_is_left_out() {
        let file = quoted("/c/data/f");
        let other = quoted("/c/other");
        let changes = read(&[
            format!(
                "openat(AT_FDCWD<\\x2f>, \"{file}\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3<{file}>"
            ),
            format!("openat(AT_FDCWD<\\x2f>, \"{other}\", O_WRONLY|O_CREAT, 0666) = 4<{other}>"),
            format!("open(\"{other}\", O_RDONLY|O_CLOEXEC) = 6<{other}>"),
            format!("write(3<{file}>, \"\\x31\\x32\", 2) = 1"),
            format!("write(3<{file}>, \"\\x32\", 1) = 1"),
            format!("write(4<{other}>, \"\\x32\", 1) = 1"),
            format!("sync_file_range(3<{file}>, 0, 2, SYNC_FILE_RANGE_WRITE) = 0"),
            format!("fsync(3<{file}>) = 0"),
            format!("fsync(5<{}>) = 0", quoted("/c")),
        ]);
        let path = PathBuf::from("data/f");
        let expected = vec![
            Change::Create(path.clone()),
            Change::SetLen(path.clone(), 0),
            Change::Write(path.clone(), 0, (*b"1").into()),
            Change::Write(path.clone(), 1, (*b"2").into()),
            Change::Sync(path),
            Change::Sync(PathBuf::new()),
        ];
        assert_eq!(changes.unwrap(), expected);
    }

    #[test]
    fn what_the_model_has_not_is_refused() {
        let file = quoted("/c/data/f");
        for line in [
            format!("mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{file}>, 0) = 0x7f"),
            "io_uring_setup(8, {flags=0}) = 3".to_owned(),
            format!("write(3<{file}>, \"\\x31\", 1) = 1"),
            format!("fallocate(3<{file}>, FALLOC_FL_PUNCH_HOLE, 0, 1) = 0"),
            "sync() = 0".to_owned(),
        ] {
            assert!(read(std::slice::from_ref(&line)).is_err(), "{line}");
        }
    }
}
