//! Owns the exit codes and how a fatal error is shown: one line, and where it helps one hint.

use std::error::Error;
use std::fmt;

/// How the process ends. Codes are a promise to manifests (`sysexits.h` where one fits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for is done.
    Done,
    /// `check`: what was asked is not so.
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
    Nonsense,
    /// The vault refused us.
    Refused,
    /// Settings are invalid.
    Settings,
    /// `exec`: the command is there and can't be run.
    NotRunnable,
    /// `exec`: there is no such command.
    NotFound,
    /// `exec`: as its command ended, or as `SEGURA_CHANGE_EXIT_CODE` says.
    Command(u8),
    /// Ended by this signal, given as a code because PID 1 can't die of its own signal.
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
            Self::Nonsense => 76,
            Self::Refused => 77,
            Self::Settings => 78,
            Self::NotRunnable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
            Self::Signalled(number) => 128_u8.saturating_add(number),
        }
    }

    /// The class of a failure that ends so.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Settings => FailureClass::Configuration,
            Self::Refused => FailureClass::Refused,
            Self::Nonsense => FailureClass::Malformed,
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

/// The class of a failure, as the state and the metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The vault did not answer, or not in time.
    Unreachable,
    /// The vault refused the agent.
    Refused,
    /// An answer was not understood.
    Malformed,
    /// The settings, or the vault's, don't fit.
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

    /// The word for it in the state and in metrics; dashboards are written against it.
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

    /// The class of this label; none if another version of the agent has written it.
    pub fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.label() == label)
    }
}

/// The codes and what they say, as the help and the manual show them.
pub const CODES: &[(&str, &str)] = &[
    ("0", "done; sidecar: ended by SIGTERM or SIGINT"),
    ("1", "check: the answer is no"),
    ("64", "wrong use of the command line"),
    ("69", "vault unreachable or failing until the timeout"),
    ("70", "a bug in the agent"),
    ("73", "cannot write the output"),
    ("75", "exec with SEGURA_ON_CHANGE=exit: a secret has changed"),
    ("76", "the vault's answer makes no sense"),
    ("77", "the vault refused us"),
    ("78", "settings are invalid"),
    ("126", "exec: the command is there and can't be run"),
    ("127", "exec: there is no such command"),
    ("130, 143", "ended by SIGINT or SIGTERM before the set was published"),
    ("other", "exec: as its command; 128 plus the number of the signal that ended it"),
];

/// A fatal error, ready to be shown: never holds a value, a token or a client secret.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What was attempted, on what, and the cause; lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure told by `error` and everything beneath it.
    pub fn new(exit: Exit, error: &dyn Error) -> Self {
        Self { exit, message: chain(error), hint: None }
    }

    /// A failure told by one sentence.
    pub fn said(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// The process was told to end.
    pub fn signalled(number: u8) -> Self {
        Self::said(Exit::Signalled(number), "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segura-agent: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// An error and its sources, each told once, parted by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
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
            (Exit::Nonsense, 76),
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
    }
}
