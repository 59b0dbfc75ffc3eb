//! What is printed of a backup.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use synod_backup::Manifest;
use synod_types::CommanderId;

use crate::output::Output;
use crate::table::{Table, printable};
use crate::time;

/// Prints what is in a backup that was `made`, or `verified`.
pub(crate) fn print(
    output: Output,
    path: &Path,
    manifest: &Manifest,
    signer: CommanderId,
    what: &str,
) -> anyhow::Result<()> {
    let json = json!({
        "backup": path,
        what: true,
        "signedBy": signer.to_string(),
        "manifest": manifest,
    });
    let mut text = format!(
        "{} of cluster {} ({})\n{what} by {} from {}, {}; signed by {signer}\n\n",
        path.display(),
        printable(&manifest.cluster_name),
        manifest.cluster,
        printable(&manifest.program),
        printable(&manifest.source),
        time::shown(manifest.made_ms.0),
    );
    let titles = ["APP", "NAME", "STATENDX", "SLOT", "CHAIN", "TIME", "BYTES", "FILES", "EXECUTED FROM"];
    let mut table = Table::new(&titles);
    for app in &manifest.apps {
        let begins = &app.begins;
        let mut from = begins.with.clone();
        if !begins.signed_by.is_empty() {
            write!(from, " of state {}, by {}", begins.state_ndx, begins.signed_by.join(", "))?;
        }
        table.row([
            app.app_ndx.to_string(),
            app.name.clone(),
            app.state_ndx.to_string(),
            app.slot.to_string(),
            app.chain.short(),
            time::shown(app.time_ms.0),
            app.state.bytes.to_string(),
            app.files.to_string(),
            from,
        ]);
    }
    write!(text, "{table}")?;
    for warning in &manifest.warnings {
        write!(text, "\nwarning: {}", printable(warning))?;
    }
    output.print(&json, text)
}
