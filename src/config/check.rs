//! The settings of `check`, which runs in the environment of the agent and must not fail for a
//! setting that it does not read.

use super::raw::Raw;
use super::{Problems, Reader};
use crate::config::settings::{Checked, Watched};

impl Checked {
    /// Proves these settings, and no others.
    pub fn from_raw(raw: &Raw) -> Result<Self, Problems> {
        if raw.segura_output.as_deref().map(str::trim) == Some("none") {
            return Ok(Self::Nothing);
        }
        let mut reader = Reader::default();
        let dir = reader.output_dir(raw);
        let max_stale = reader.max_stale(raw);
        let agent_uid = reader.agent_uid(raw);
        match (dir, reader.problems.is_empty()) {
            (Some(dir), true) => Ok(Self::Watched(Watched { dir, max_stale, agent_uid })),
            _ => Err(Problems(reader.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> Raw {
        Raw::from_environment(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn dir(raw: &Raw) -> PathBuf {
        match Checked::from_raw(raw) {
            Ok(Checked::Watched(watched)) => watched.dir,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_directory_is_the_one_that_the_other_modes_write() {
        let old = ("SENHASEGURA_URL", "https://v");
        let folder = ("SENHASEGURA_SECRETS_FOLDER", "/mem");
        let own = ("SEGURA_OUTPUT_DIR", "/own");
        for (pairs, expected) in [
            (&[][..], "/run/secrets/segura"),
            (&[old], "/var/run/secrets/senhasegura"),
            (&[old, folder], "/mem/senhasegura"),
            (&[old, folder, own], "/own"),
        ] {
            assert_eq!(dir(&raw(pairs)), PathBuf::from(expected));
        }
    }

    #[test]
    fn only_its_own_settings_can_be_wrong() {
        let others = [("SEGURA_URL", "x"), ("SEGURA_FILE_MODE", "x"), ("SEGURA_OUTPUT", "x")];
        assert!(Checked::from_raw(&raw(&others)).is_ok());
        let own = [("SEGURA_OUTPUT_DIR", "x"), ("SEGURA_MAX_STALE", "x")];
        let wrong = [others.as_slice(), &own].concat();
        assert_eq!(Checked::from_raw(&raw(&wrong)).unwrap_err().0.len(), 2);
    }

    #[test]
    fn an_output_of_none_is_not_checked() {
        assert_eq!(
            Checked::from_raw(&raw(&[("SEGURA_OUTPUT", "none")])).unwrap(),
            Checked::Nothing
        );
    }
}
