//! `--manifest`: what a pod needs to reach the vault, as an object that its manifest refers to.

use std::{io, io::Write as _, path::Path};

use serde_json::json;
use tempfile::NamedTempFile;

use super::dev_vault::DevVault;

/// Writes the object to `file`, whole or not at all, for its owner alone.
///
/// A ConfigMap, though it holds a client secret: podman before 4.4 can't mount what a Secret holds,
/// and nothing here is worth hiding.
pub fn write(vault: &DevVault, file: &Path) -> io::Result<()> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "dev-vault"},
        "data": {
            "client-id": vault.client_id(),
            "client-secret": vault.client_secret(),
            "ca.pem": vault.ca_pem(),
        },
    });
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut written = NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
    writeln!(written, "{object:#}\n---")?;
    written.persist(file)?;
    Ok(())
}
