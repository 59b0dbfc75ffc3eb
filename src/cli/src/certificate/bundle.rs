//! Certificates in files: JSON, as a node answers it, or the same as bytes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, ensure};
use synod_gateway::BundleForm;
use synod_types::CertificateBundle;

/// Writes a certificate, whole or not at all.
pub(super) fn write(path: &Path, bundle: &CertificateBundle) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(&BundleForm::of(bundle))?;
    bytes.push(b'\n');
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let save = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    save().with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a file of so many bytes at most.
pub(super) fn read(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let limit = u64::try_from(bytes_max)?;
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() <= bytes_max, "{name} has more than {bytes_max} bytes: is it the right file?");
    Ok(bytes)
}

/// What bytes in either form say.
pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<CertificateBundle> {
    if bytes.starts_with(CertificateBundle::NAME.as_bytes()) {
        return Ok(CertificateBundle::decode(bytes)?);
    }
    let form: BundleForm =
        serde_json::from_slice(bytes).context("not a certificate, as `synod certificate get` writes it")?;
    Ok(form.read()?)
}
