//! The agent's own credentials, which no document may send to the vault.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::fstatfs;

use crate::config::raw::Raw;
use crate::logging::escape::one_line;

/// Looks up an environment variable by its name.
pub type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The configuration file of the vendor's historic sidecar, which holds its client secret.
const HISTORIC_FILE: &str = "SENHASEGURA_CONFIG_FILE";

/// The kernel's file systems that show processes: their environment, their memory, their open files
/// (`statfs(2)`, `PROC_SUPER_MAGIC` and `SYSFS_MAGIC`).
const KERNEL: [(u64, &str); 2] = [(0x9fa0, "procfs"), (0x6265_6572, "sysfs")];

/// The variables that hold the agent's credentials or name their files.
#[derive(Debug)]
pub struct OwnCredentials {
    variables: Vec<&'static str>,
    proxy: &'static str,
    files: Vec<(&'static str, PathBuf)>,
}

impl OwnCredentials {
    /// Collects them; `variable` looks up a variable that the settings don't have.
    pub fn of(raw: &Raw, variable: &Lookup<'_>) -> Self {
        let named = [
            &raw.segura_client_id_file,
            &raw.segura_client_secret_file,
            &raw.segura_client_cert_file,
            &raw.segura_client_key_file,
            &raw.segura_private_key_file,
        ];
        let files = named.into_iter().filter_map(|file| Some((file.name, file.as_deref()?.into())));
        let historic = variable(HISTORIC_FILE).map(|path| (HISTORIC_FILE, path.into()));
        let variables = [
            raw.segura_client_id.name,
            raw.segura_client_secret.name,
            raw.senhasegura_client_id.name,
            raw.senhasegura_client_secret.name,
        ];
        Self {
            variables: variables.into(),
            proxy: raw.https_proxy.name,
            files: files.chain(historic).collect(),
        }
    }

    /// Refuses a variable that holds a credential of the agent. Case does not count: a name in
    /// other letters is a slip, or a copy of the same.
    pub fn refuse_variable(&self, name: &str, value: &OsStr) -> Result<(), String> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        // The URL of a proxy holds a credential if it names a user (RFC 3986, 3.2.1).
        let has_user = || value.as_encoded_bytes().contains(&b'@');
        if self.variables.iter().any(|known| is(known)) || (is(self.proxy) && has_user()) {
            return Err(format!(
                "the variable {} holds a credential of the agent itself, which no document may send",
                one_line(name)
            ));
        }
        Ok(())
    }

    /// Refuses an open file that shows a credential of the agent: one that a variable names, by
    /// whichever path `file` was opened, or one of the kernel's.
    pub fn refuse_file(&self, path: &Path, file: &File) -> Result<(), String> {
        let shown = || one_line(&path.display().to_string()).into_owned();
        let why = |error: &dyn std::fmt::Display| {
            format!("the file {} can't be examined: {error}", shown())
        };
        let system = fstatfs(file).map_err(|error| why(&error))?.f_type.cast_unsigned();
        if let Some((_, name)) = KERNEL.iter().find(|(magic, _)| *magic == system) {
            return Err(format!(
                "the file {} is on {name}, which shows the agent's own credentials",
                shown()
            ));
        }
        let opened = file.metadata().map_err(|error| why(&error))?;
        let is_own = |own: &Path| {
            let inode = |found: fs::Metadata| (found.dev(), found.ino());
            let same = fs::metadata(own).is_ok_and(|own| inode(own) == inode(opened.clone()));
            // A file may be replaced between the two looks, as kubelets do.
            same || own == path || fs::canonicalize(path).is_ok_and(|path| is_at(own, &path))
        };
        match self.files.iter().find(|(_, own)| is_own(own)) {
            Some((variable, _)) => Err(format!(
                "the file {} is that of {variable}, a credential of the agent itself, which no document may send",
                shown()
            )),
            None => Ok(()),
        }
    }
}

fn is_at(own: &Path, path: &Path) -> bool {
    fs::canonicalize(own).is_ok_and(|own| own == path)
}
