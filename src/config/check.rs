//! The few settings of `check`: it is run in the pod's own environment and must not fail for what
//! it has no use for.

use std::path::PathBuf;
use std::time::Duration;

use super::raw::Raw;
use super::{Problems, Reader};

/// What `check` looks at.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// `SEGURA_OUTPUT=none`: nothing is written that could be looked at.
    Nothing,
    /// A directory.
    Watched(Watched),
}

/// A directory, and when what stands in it is too old.
#[derive(Debug, PartialEq, Eq)]
pub struct Watched {
    /// `SEGURA_OUTPUT_DIR`.
    pub dir: PathBuf,
    /// `SEGURA_MAX_STALE`.
    pub max_stale: Option<Duration>,
}

impl Checked {
    /// Proves what `raw` says of it, and of nothing else.
    pub fn from_raw(raw: &Raw) -> Result<Self, Problems> {
        if raw.segura_output.as_deref().map(str::trim) == Some("none") {
            return Ok(Self::Nothing);
        }
        let mut reader = Reader::default();
        let (dir, _) = reader.output_dir(raw);
        let max_stale = reader.max_stale(raw);
        match (dir, reader.problems.is_empty()) {
            (Some(dir), true) => Ok(Self::Watched(Watched { dir, max_stale })),
            _ => Err(Problems(reader.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(raw: &Raw) -> PathBuf {
        match Checked::from_raw(raw) {
            Ok(Checked::Watched(watched)) => watched.dir,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_directory_is_the_one_that_the_other_modes_write() {
        let old = Raw { senhasegura_url: Some("https://v".to_owned()), ..Raw::default() };
        assert_eq!(dir(&Raw::default()), PathBuf::from("/run/secrets/segura"));
        assert_eq!(dir(&old), PathBuf::from("/var/run/secrets/senhasegura"));
        let folder = Some("/mem".to_owned());
        let moved = Raw { senhasegura_secrets_folder: folder, ..old };
        assert_eq!(dir(&moved), PathBuf::from("/mem/senhasegura"));
        let own = Raw { segura_output_dir: Some("/own".to_owned()), ..moved };
        assert_eq!(dir(&own), PathBuf::from("/own"));
    }

    #[test]
    fn only_its_own_settings_can_be_wrong() {
        let wrong = Raw {
            segura_url: Some("x".to_owned()),
            segura_file_mode: Some("x".to_owned()),
            segura_output: Some("x".to_owned()),
            ..Raw::default()
        };
        assert!(Checked::from_raw(&wrong).is_ok());
        let (dir, max_stale) = (Some("x".to_owned()), Some("x".to_owned()));
        let wrong = Raw { segura_output_dir: dir, segura_max_stale: max_stale, ..wrong };
        assert_eq!(Checked::from_raw(&wrong).unwrap_err().0.len(), 2);
    }

    #[test]
    fn where_nothing_is_written_there_is_nothing_to_check() {
        let none = Raw { segura_output: Some("none".to_owned()), ..Raw::default() };
        assert_eq!(Checked::from_raw(&none).unwrap(), Checked::Nothing);
    }
}
