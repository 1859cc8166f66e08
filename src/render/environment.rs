//! The variables that a command's environment gets from the secrets.

use super::RenderError;
use super::name::{Named, Variables};
use crate::model::{Bundle, Entry, SecretName, flat};

/// The longest variable that the kernel takes, its name, the `=` and the closing NUL included
/// (`MAX_ARG_STRLEN`, `execve(2)`).
const LONGEST: usize = 128 * 1024;

/// Names by which a program loads code, trusts a certificate or finds its surroundings: never taken
/// from a secret, in any case of letters.
const WITHHELD: [&str; 13] = [
    "PATH",
    "HOSTNAME",
    "HOME",
    "USER",
    "SHELL",
    "PWD",
    "TZ",
    "IFS",
    "ENV",
    "BASH_ENV",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

/// The beginnings of more such names.
const WITHHELD_BEGINNINGS: [&str; 8] =
    ["LD_", "KUBERNETES_", "POD_", "SSL_CERT_", "NODE_", "PYTHON", "RUBY", "PERL5"];

/// True if a variable of this name is never taken from a secret.
pub fn is_withheld(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    WITHHELD.contains(&upper.as_str())
        || WITHHELD_BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning))
        || upper.ends_with("_PROXY")
}

/// The variables of the entries of `secrets`, withheld ones included.
pub fn variables<'a>(
    secrets: impl IntoIterator<Item = (&'a SecretName, &'a [Entry])>,
    variables: &Variables,
) -> Result<Named<'a>, RenderError> {
    let secrets = secrets.into_iter().map(|(identity, entries)| (identity, flat(entries)));
    let named = variables.assign(secrets)?;
    for (name, (identity, key, value)) in &named {
        let value = value.expose().as_bytes();
        let (identity, key) = ((*identity).clone(), (*key).to_owned());
        if is_withheld(name) {
            continue;
        }
        if value.contains(&0) {
            return Err(RenderError::Nul { identity, key });
        }
        if name.len() + value.len() + 2 > LONGEST {
            return Err(RenderError::TooLong { identity, key });
        }
    }
    Ok(named)
}

/// Fails if an environment can't hold the variables of `bundle`.
pub(super) fn prove(bundle: &Bundle, names: &Variables) -> Result<(), RenderError> {
    let secrets = bundle.secrets.iter().map(|(name, set)| (name, set.entries.as_slice()));
    variables(secrets, names).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::name::Case;
    use super::super::tests::bundle;
    use super::*;

    #[test]
    fn names_that_steer_programs_are_withheld_in_any_case_of_letters() {
        for name in [
            "PATH",
            "path",
            "Hostname",
            "HOME",
            "USER",
            "SHELL",
            "PWD",
            "TZ",
            "IFS",
            "ENV",
            "BASH_ENV",
            "LD_PRELOAD",
            "ld_audit",
            "KUBERNETES_PORT",
            "POD_NAME",
            "HTTPS_PROXY",
            "no_proxy",
            "SSL_CERT_FILE",
            "JAVA_TOOL_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "_JAVA_OPTIONS",
            "NODE_OPTIONS",
            "PYTHONPATH",
            "PYTHON",
            "RUBYOPT",
            "PERL5LIB",
        ] {
            assert!(is_withheld(name), "{name}");
        }
        for name in ["password", "USERNAME", "PATHS", "MY_PATH", "PROXY", "LD", "TTL", "ip", "NODE"]
        {
            assert!(!is_withheld(name), "{name}");
        }
    }

    #[test]
    fn a_value_that_no_environment_holds_is_refused_by_name() {
        let names = Variables::new("{key}", Case::Keep).unwrap();
        let proven = |key: &str, value: &str| prove(&bundle(&[("s", &[&[(key, value)]])]), &names);
        assert_eq!(proven("k", "any\nthing = 'at' all"), Ok(()));
        assert!(proven("k", "a\0b").unwrap_err().to_string().contains("\"k\" of s"));
        assert_eq!(proven("PATH", "a\0b"), Ok(()), "it is withheld");
        assert_eq!(proven("k", &"x".repeat(LONGEST - 3)), Ok(()));
        let error = proven("k", &"x".repeat(LONGEST - 2)).unwrap_err();
        assert!(error.to_string().contains("\"k\" of s") && error.to_string().len() < 100);
    }
}
