//! Exit codes, and the text of a fatal error: one line, and a hint if there is one.

use std::error::Error;
use std::fmt;

/// The exit of the process. Manifests rely on the codes, which follow `sysexits.h` if one fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for is done.
    Done,
    /// `check`: the answer is no.
    No,
    /// The command line is wrong.
    Usage,
    /// The vault can't be reached, or keeps failing.
    Unreachable,
    /// A bug in the agent.
    Bug,
    /// The output can't be written.
    CannotWrite,
    /// The vault's answer makes no sense.
    Malformed,
    /// The vault refused the agent.
    Refused,
    /// Settings are invalid.
    Settings,
    /// `exec`: the command exists and can't be run.
    NotRunnable,
    /// `exec`: the command is not found.
    NotFound,
    /// `exec`: the code of its command, or `SEGURA_CHANGE_EXIT_CODE`.
    Command(u8),
    /// Ended by this signal; a code, since process 1 can't end by its own signal (`kill(2)`,
    /// NOTES).
    Signalled(u8),
}

impl Exit {
    /// The code for the parent process.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Bug => 70,
            Self::CannotWrite => 73,
            Self::Malformed => 76,
            Self::Refused => 77,
            Self::Settings => 78,
            Self::NotRunnable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
            Self::Signalled(number) => 128_u8.saturating_add(number),
        }
    }

    /// The class of a failure with this exit.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Settings => FailureClass::Configuration,
            Self::Refused => FailureClass::Refused,
            Self::Malformed => FailureClass::Malformed,
            Self::CannotWrite => FailureClass::Write,
            Self::Done
            | Self::No
            | Self::Usage
            | Self::Unreachable
            | Self::Bug
            | Self::NotRunnable
            | Self::NotFound
            | Self::Command(_)
            | Self::Signalled(_) => FailureClass::Unreachable,
        }
    }
}

/// The class of a failure, in the state and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The vault did not answer, or not in time.
    Unreachable,
    /// The vault refused the agent.
    Refused,
    /// An answer could not be read.
    Malformed,
    /// A setting of the agent or the vault is wrong.
    Configuration,
    /// A set could not be rendered.
    Render,
    /// A set could not be written.
    Write,
}

impl FailureClass {
    /// Every class, in the order of the metrics.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Refused,
        Self::Malformed,
        Self::Configuration,
        Self::Render,
        Self::Write,
    ];

    /// Its label in the state and in metrics, which dashboards rely on.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Malformed => "nonsense",
            Self::Configuration => "settings",
            Self::Render => "render",
            Self::Write => "write",
        }
    }

    /// The class of this label; none for one that only another version of the agent knows.
    pub fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.label() == label)
    }
}

/// The codes and their meanings, for the help and the manual.
pub const CODES: &[(&str, &str)] = &[
    ("0", "done; sidecar: ended by SIGTERM or SIGINT"),
    ("1", "check: the answer is no"),
    ("64", "wrong use of the command line"),
    ("69", "vault unreachable or failing until the timeout"),
    ("70", "a bug in the agent"),
    ("73", "cannot write the output"),
    ("75", "exec with SEGURA_ON_CHANGE=exit: a secret has changed"),
    ("76", "the vault's answer makes no sense"),
    ("77", "the vault refused the agent"),
    ("78", "settings are invalid"),
    ("126", "exec: the command can't be run"),
    ("127", "exec: the command is not found"),
    ("130, 143", "ended by SIGINT or SIGTERM before the set was published"),
    ("other", "exec: the command's own code; 128 plus the number of the signal that ended it"),
];

/// A fatal error for the user: never holds a value, a token or a client secret.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit of the process.
    pub exit: Exit,
    /// The attempt, its object, and the cause; lower case, no full stop.
    pub message: String,
    /// The problems that it consists of, where there are several; each is a line.
    pub problems: Vec<String>,
    /// The remedy.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with the text of `error` and its sources.
    pub fn new(exit: Exit, error: &dyn Error) -> Self {
        Self::said(exit, chain(error))
    }

    /// A failure with this text.
    pub fn said(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), problems: Vec::new(), hint: None }
    }

    /// Adds problems.
    #[must_use]
    pub fn listing(mut self, problems: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        self.problems.extend(problems.into_iter().map(|problem| problem.to_string()));
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// The end by a signal, without a text.
    pub fn signalled(number: u8) -> Self {
        Self::said(Exit::Signalled(number), "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segura-agent: {}", self.message)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The texts of an error and its sources, separated by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_interface() {
        for (exit, code) in [
            (Exit::Done, 0),
            (Exit::No, 1),
            (Exit::Usage, 64),
            (Exit::Unreachable, 69),
            (Exit::Bug, 70),
            (Exit::CannotWrite, 73),
            (Exit::Malformed, 76),
            (Exit::Refused, 77),
            (Exit::Settings, 78),
            (Exit::NotRunnable, 126),
            (Exit::NotFound, 127),
            (Exit::Command(3), 3),
            (Exit::Signalled(15), 143),
            (Exit::Signalled(2), 130),
        ] {
            assert_eq!(exit.code(), code, "{exit:?}");
            let shown = CODES
                .iter()
                .any(|(codes, _)| codes.split(", ").any(|shown| shown == code.to_string()));
            assert_eq!(shown, code != 3, "{exit:?}");
        }
    }

    #[test]
    fn a_failure_is_one_line_and_its_hint_another() {
        let failure = Failure::said(Exit::Refused, "cannot log in: no").hint(Some("ask"));
        assert_eq!(failure.to_string(), "segura-agent: cannot log in: no\nhint: ask");
        let failure = Failure::said(Exit::Settings, "invalid").listing(["a: must be b", "c"]);
        assert_eq!(failure.to_string(), "segura-agent: invalid\n  a: must be b\n  c");
    }
}
