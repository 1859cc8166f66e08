//! The reasons why secrets can't be rendered, and their remedies.

use std::fmt;

use super::dialect::Dialect;
use crate::model::SecretName;

/// The reason why secrets can't be rendered. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Two outputs need one path.
    #[error("{first} and {second} both need the path {path:?}")]
    Clash {
        /// The path in question.
        path: String,
        /// The first owner.
        first: String,
        /// The second owner.
        second: String,
    },
    /// Entries of a secret have different values for a key, and `SEGURA_COLLISION=error`.
    #[error("entries of {identity} have different values for {keys}")]
    Disagreement {
        /// The secret in question.
        identity: SecretName,
        /// The keys, joined by commas.
        keys: String,
    },
    /// Two keys become one variable.
    #[error("{first} and {second} both become the variable {variable}")]
    Variable {
        /// The variable's name.
        variable: String,
        /// The first owner.
        first: String,
        /// The second owner.
        second: String,
    },
    /// A value with a NUL byte.
    #[error("the value of {key:?} of {identity} holds a NUL byte, which an environment can't hold")]
    Nul {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A value that the env file's dialect can't express.
    #[error(
        "the value of {key:?} of {identity} can't be written to an env file of the dialect {dialect}: {reason}"
    )]
    Env {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
        /// `SEGURA_ENV_DIALECT`.
        dialect: Dialect,
        /// The reason, without the value.
        reason: &'static str,
    },
    /// A variable that shells set or protect themselves.
    #[error("{key:?} of {identity} becomes the variable {variable}, which shells reserve")]
    ShellsOwn {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
        /// The variable's name.
        variable: String,
    },
    /// Two keys become one property.
    #[error("{first} and {second} both become the property {property}")]
    Property {
        /// The property's name.
        property: String,
        /// The first owner.
        first: String,
        /// The second owner.
        second: String,
    },
    /// A value that should be base64 and is not.
    #[error("the value of {key:?} of {identity} is not base64")]
    NotBase64 {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A value that decodes to bytes that are not UTF-8, in an output of text.
    #[error("the base64 of {key:?} of {identity} decodes to bytes that are not UTF-8 text")]
    NotText {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
    /// A template can't be rendered.
    #[error("the template {flaw}")]
    Template {
        /// The fault and its place.
        flaw: Flaw,
    },
    /// All values together are longer than the agent reads back.
    #[error("the values of all secrets together are larger than 16 MiB")]
    TooMuch,
    /// A value longer than the kernel takes in one variable.
    #[error("the value of {key:?} of {identity} is longer than a variable may be (128 KiB)")]
    TooLong {
        /// The secret it belongs to.
        identity: SecretName,
        /// The key in question.
        key: String,
    },
}

/// A fault of a template, with its place. It may quote the template, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Flaw {
    /// The template's file.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl RenderError {
    /// The remedy, for the user.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Clash { .. } => {
                "rename one of them in the vault, or give the output another name"
            }
            Self::Disagreement { .. } => {
                "give the entries labels of their own in the vault, or set SEGURA_COLLISION=last"
            }
            Self::Variable { .. } => {
                "set SEGURA_ENV_NAME={identity}_{key}, or rename a key in the vault"
            }
            Self::Nul { .. } => {
                "leave `env` out of SEGURA_OUTPUT, and set SEGURA_EXEC_ENV=false: files hold arbitrary bytes"
            }
            Self::Env { .. } => {
                "publish it as a file (SEGURA_OUTPUT=files), keep it as base64 in the vault, or use SEGURA_ENV_DIALECT=shell"
            }
            Self::ShellsOwn { .. } => {
                "give it another name with SEGURA_ENV_NAME, such as APP_{key}"
            }
            Self::Property { .. } => "rename one of them in the vault, or publish them as files",
            Self::NotBase64 { .. } => {
                "correct the value in the vault, or change the glob of SEGURA_DECODE that matches it"
            }
            Self::NotText { .. } => {
                "only files hold arbitrary bytes: write the document by a template without this value, or change the glob of SEGURA_DECODE that matches it"
            }
            Self::Template { .. } => "correct the template in SEGURA_TEMPLATE_DIR",
            Self::TooMuch => {
                "name fewer secrets with SEGURA_IDENTITY, or share them among several agents"
            }
            Self::TooLong { .. } => "set SEGURA_EXEC_ENV=false: files carry any length",
        }
    }
}
