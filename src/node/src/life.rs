//! The number of this life of the node: larger than that of each life before, so that the others can tell them apart.
//!
//! The file `life` in the data directory has the last one. A directory that was lost comes back with the clock's time, which is larger
//! than any number that follows from an earlier time.

use std::fs;
use std::io;
use std::path::Path;

use crate::durable::replace;

const FILE: &str = "life";

/// Begins a life, at this time of the clock in milliseconds, and remembers it durably.
pub(crate) fn begin(dir: &Path, now_ms: u64) -> io::Result<u64> {
    let path = dir.join(FILE);
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let why = format!("{} is damaged; remove it", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => 0,
        Err(why) => return Err(why),
    };
    let life = now_ms.max(before + 1);
    replace(&path, format!("{life}\n").as_bytes())?;
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_grow_also_where_the_clock_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(begin(dir.path(), 500).unwrap(), 500);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/life");
        synod_golden::holds_file(golden, &fs::read(dir.path().join(FILE)).unwrap());
        assert_eq!(begin(dir.path(), 500).unwrap(), 501);
        assert_eq!(begin(dir.path(), 7).unwrap(), 502);
        assert_eq!(begin(dir.path(), 900).unwrap(), 900);
        fs::write(dir.path().join(FILE), "no").unwrap();
        assert!(begin(dir.path(), 1).unwrap_err().to_string().contains("damaged"));
    }
}
