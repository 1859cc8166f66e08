//! The dialects of the env file, one for each kind of reader.

use std::fmt;

/// The kind of reader that the env file is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// POSIX shells (`.`) and systemd's `EnvironmentFile` (`systemd.exec(5)`).
    #[default]
    Shell,
    /// The subset that shells, systemd and the dotenv parsers of node, Python and Ruby read alike.
    Dotenv,
    /// `--env-file` of docker and podman: names and values without quoting, one a line.
    Docker,
    /// The kubelet's `fileKeyRef`.
    Kubernetes,
}

impl Dialect {
    /// The value of `SEGURA_ENV_DIALECT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Dotenv => "dotenv",
            Self::Docker => "docker",
            Self::Kubernetes => "k8s",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
