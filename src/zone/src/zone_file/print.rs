//! A zone as a file.

use std::fmt::{self, Write};

use crate::name::Name;
use crate::rdata;
use crate::record::Record;

/// Writes a zone file with these records, one on each line, owners relative to `origin` and all other names absolute.
/// [`parse`](crate::zone_file::parse) reads the same records from it.
///
/// # Errors
/// Those of `out`.
pub fn print<'a>(
    origin: &Name,
    records: impl IntoIterator<Item = &'a Record>,
    out: &mut dyn Write,
) -> fmt::Result {
    writeln!(out, "$ORIGIN {origin}")?;
    for record in records {
        let Record { owner, rtype, rdata, ttl } = record;
        writeln!(out, "{} {ttl} IN {rtype} {}", owner.relative_to(origin), rdata::display(*rtype, rdata))?;
    }
    Ok(())
}
