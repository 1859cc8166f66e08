//! The env file, in the dialect that POSIX shells and systemd's `EnvironmentFile` read alike.
//!
//! A value stands in single quotes, in which both take every byte as it is; a single quote itself
//! stands in double quotes between them (`'"'"'`), because systemd reads `'\''` otherwise.

use super::RenderError;
use super::json::size;
use super::name::Variables;
use crate::model::Bundle;
use crate::secret::{Secret, SecretBuf};

/// Writes one assignment a variable, in the order of their names.
pub(super) fn render(
    bundle: &Bundle,
    variables: &Variables,
) -> Result<Secret<Vec<u8>>, RenderError> {
    let mut bytes = SecretBuf::with_capacity(size(bundle));
    for (name, (identity, key, value)) in
        variables.assign(bundle.secrets.iter().map(|(name, set)| (name, set.flat())))?
    {
        let value = value.expose().as_bytes();
        if value.contains(&0) {
            return Err(RenderError::Nul { identity: identity.clone(), key: key.to_owned() });
        }
        bytes.push(name.as_bytes());
        bytes.push(b"='");
        for (n, piece) in value.split(|byte| *byte == b'\'').enumerate() {
            if n > 0 {
                bytes.push(br#"'"'"'"#);
            }
            bytes.push(piece);
        }
        bytes.push(b"'\n");
    }
    Ok(bytes.into_secret())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::name::Case;
    use super::super::tests::bundle;
    use super::*;

    fn rendered(value: &str) -> Result<Vec<u8>, RenderError> {
        let bundle = bundle(&[("s", &[&[("K", value)]])]);
        let variables = Variables::new("{key}", Case::Keep).unwrap();
        render(&bundle, &variables).map(|bytes| bytes.expose().clone())
    }

    #[test]
    fn quotes_are_written_so_that_systemd_reads_them_too() {
        assert_eq!(rendered("a'b").unwrap(), b"K='a'\"'\"'b'\n");
        assert_eq!(rendered("").unwrap(), b"K=''\n");
    }

    #[test]
    fn nul_is_refused_by_name() {
        let error = rendered("a\0b").unwrap_err();
        assert!(error.to_string().contains("\"K\" of s"), "{error}");
    }

    #[test]
    fn a_shell_reads_back_every_value() {
        for value in [
            "plain",
            "",
            " lead trail ",
            "it's",
            "''",
            "\"double\"",
            "my$ecretP@ss!",
            "`id`",
            "$(id)",
            "back\\slash\\",
            "line\nbreak",
            "tab\tcr\r",
            "\u{1}\u{7f}",
            "çã \u{1f511}",
            "#hash",
            "a=b;c",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("secrets.env");
            std::fs::write(&file, rendered(value).unwrap()).unwrap();
            let output = Command::new("sh")
                .args(["-c", ". \"$1\"; printf %s \"$K\"", "sh"])
                .arg(&file)
                .output()
                .unwrap();
            assert_eq!(output.stdout, value.as_bytes(), "{value:?}");
        }
    }
}
