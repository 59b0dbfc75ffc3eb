//! Zone files on this machine: read, within the limit, and checked by the rules by which every node checks them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use synod_types::ContentKey;
use synod_types::limits::CONTENT_BYTES_MAX;
use synod_zone::{FAULTS_MAX, Faults, Name, Record, Rtype, Zone, zone_file};

use crate::exit::Failure;

/// The origin of a file that does not name its own. No file names this one.
const NO_ORIGIN: &str = "the.origin.is.not.known.invalid.";

/// A file as it is.
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
}

/// A file that is in order.
pub(crate) struct Checked {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Bytes,
    pub(crate) key: ContentKey,
    pub(crate) zone: Zone,
}

impl SourceFile {
    /// Reads a file; `-` is standard input. One that is over the limit is not read to its end.
    pub(crate) fn read(path: &Path) -> anyhow::Result<SourceFile> {
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            std::io::stdin()
                .take(CONTENT_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
        } else {
            let cannot_read = || format!("cannot read {}", path.display());
            let file = File::open(path).with_context(cannot_read)?;
            file.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot_read)?;
        }
        let path = path.to_owned();
        if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > CONTENT_BYTES_MAX) {
            let text = format!(
                "{}: has more than {CONTENT_BYTES_MAX} bytes (64 MiB), the most that a zone file may have",
                path.display()
            );
            return Err(Failure::BadZone(text).into());
        }
        Ok(SourceFile { path, bytes: bytes.into() })
    }

    /// Checks it as the file of the zone with this origin.
    pub(crate) fn check(self, origin: &Name) -> Result<Checked, Rejected> {
        match Zone::load(origin, &self.bytes) {
            Ok(zone) => {
                let key = ContentKey::of(&self.bytes);
                Ok(Checked { path: self.path, bytes: self.bytes, key, zone })
            }
            Err(faults) => Err(self.rejected(faults)),
        }
    }

    /// The file is not taken for these faults.
    pub(crate) fn rejected(&self, faults: Faults) -> Rejected {
        Rejected { path: self.path.clone(), faults }
    }

    /// The zone of which the file speaks: the owner of its SOA record, if that is written in full or below an `$ORIGIN`
    /// that is; otherwise what `NAME.zone` is named after; `None` if neither says it.
    pub(crate) fn origin(&self) -> Result<Option<Name>, Rejected> {
        let unknown = Name::parse(NO_ORIGIN).expect("it is a name");
        let named_after = named_after(&self.path);
        let records = match zone_file::parse(&self.bytes, &unknown) {
            Ok(file) => file.records,
            // What is wrong is said of the zone that it is named after.
            Err(_) if named_after.is_some() => return Ok(named_after),
            Err(faults) => return Err(self.rejected(faults)),
        };
        let mut owners =
            records.iter().filter(|record| record.rtype == Rtype::SOA).map(|record| &record.owner);
        Ok(match (owners.next(), owners.next()) {
            (Some(owner), None) if !owner.is_at_or_below(&unknown) => Some(owner.clone()),
            _ => named_after,
        })
    }
}

/// The zone that a file named `FQDN.zone` is for.
pub(crate) fn named_after(path: &Path) -> Option<Name> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".zone")?;
    Name::parse(stem).ok()
}

/// Why a file is not taken.
pub(crate) struct Rejected {
    path: PathBuf,
    faults: Faults,
}

impl Rejected {
    /// Every fault on a line of its own, as compilers print them.
    pub(crate) fn text(&self) -> String {
        let path = self.path.display();
        let line = |fault: &synod_zone::Fault| match (fault.line, fault.column) {
            (0, _) => format!("{path}: {}\n", fault.text),
            (line, 0) => format!("{path}:{line}: {}\n", fault.text),
            (line, column) => format!("{path}:{line}:{column}: {}\n", fault.text),
        };
        let mut text: String = self.faults.all().iter().map(line).collect();
        if self.faults.all().len() == FAULTS_MAX {
            text.push_str(&format!("{path}: only the first {FAULTS_MAX} faults are shown\n"));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let faults = self.faults.all().iter().map(|fault| {
            // 0 stands for nothing to point at.
            let place = |number: u32| (number > 0).then_some(number);
            json!({ "line": place(fault.line), "column": place(fault.column), "text": fault.text })
        });
        json!({ "file": self.path, "ok": false, "faults": faults.collect::<Vec<_>>() })
    }

    /// For commands that publish: the faults are said on standard error.
    pub(crate) fn failure(&self) -> Failure {
        Failure::BadZone(format!("{}; nothing was sent\n{}", self.summary(), self.text().trim_end()))
    }

    /// For commands that only read the file.
    pub(crate) fn unreadable(&self) -> Failure {
        Failure::BadZone(format!("{}\n{}", self.summary(), self.text().trim_end()))
    }

    fn summary(&self) -> String {
        let count = self.faults.all().len();
        let faults = if count == 1 { "a fault".to_owned() } else { format!("{count} faults") };
        format!("{} has {faults}", self.path.display())
    }
}

impl Checked {
    /// For programs: what is in the file.
    pub(crate) fn json(&self) -> Value {
        json!({
            "file": self.path,
            "ok": true,
            "zone": self.zone.origin().to_string(),
            "serial": self.zone.serial(),
            "records": self.zone.record_count(),
            "bytes": self.bytes.len(),
            "content": self.key.to_string(),
        })
    }

    /// Its records, SOA first.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.zone.records().collect()
    }
}
