//! The command line: what the user typed, and the help that shows the variables that matter.

use std::ffi::OsString;
use std::fmt::Write;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::variables::{Group, VARIABLES};
use crate::exit::{Exit, Failure};

/// Secrets agent for Segura (senhasegura) DevOps Secret Manager.
#[derive(Debug, Parser)]
#[command(name = "segura-agent", version, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Obtain the secrets once, publish them, exit 0 when everything is readable on disk.
    Init,
}

/// What reading the command line came to.
#[derive(Debug)]
pub enum Typed {
    /// A command to run.
    Run(Args),
    /// Help or version, to be printed to stdout.
    Print(String),
}

/// Reads the command line, the program's name first.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Args::command();
    // The list of variables is long, and only those who ask for it wait for it.
    if args.iter().any(|arg| matches!(arg.to_str(), Some("-h" | "--help"))) {
        command = command.mut_subcommand("init", |init| {
            init.after_help(variables(&[
                (Group::Vault, "The vault"),
                (Group::Pod, "Who this pod is"),
                (Group::Fetch, "What to fetch"),
                (Group::Write, "What to write"),
                (Group::Watch, "Watching the agent"),
            ]))
        });
    }
    let parsed = command.try_get_matches_from(args);
    match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => Ok(Typed::Run(args)),
        Err(error) if error.use_stderr() => Err(misused(&error)),
        Err(error) => Ok(Typed::Print(error.render().to_string())),
    }
}

/// clap explains on several lines; the first says what is wrong.
fn misused(error: &clap::Error) -> Failure {
    let rendered = error.render().to_string();
    let first = rendered.lines().next().unwrap_or_default();
    let first = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing"
    } else {
        first.strip_prefix("error: ").unwrap_or(first)
    };
    Failure::said(Exit::Usage, format!("cannot understand the command line: {first}"))
        .hint(Some("`segura-agent --help` shows what there is"))
}

fn variables(groups: &[(Group, &str)]) -> String {
    let mut help = String::from("Settings are environment variables:\n");
    for (group, title) in groups {
        write!(help, "\n{title}:\n").ok();
        for variable in VARIABLES.iter().filter(|variable| variable.group == *group) {
            let (name, meaning, default) = (variable.name, variable.meaning, variable.default);
            writeln!(help, "  {name:<27} {meaning} [{default}]").ok();
        }
    }
    help.push_str("\nExit codes: 0 done, 64 usage, 69 vault unreachable, 70 bug, 73 cannot write, 76 nonsense, 77 refused, 78 settings");
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(args: &[&str]) -> Result<Typed, Failure> {
        read(std::iter::once("segura-agent").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn wrong_use_is_one_line_and_64() {
        for args in [&["frobnicate"][..], &[], &["init", "--frobnicate"], &["init", "x"]] {
            let failure = typed(args).unwrap_err();
            assert_eq!(failure.exit.code(), 64, "{args:?}");
            assert_eq!(failure.message.lines().count(), 1, "{args:?}");
            assert!(failure.message.starts_with("cannot understand"), "{failure}");
        }
    }

    #[test]
    fn help_shows_every_variable_that_init_reads() {
        let Ok(Typed::Print(help)) = typed(&["init", "--help"]) else { panic!() };
        for variable in VARIABLES.iter().filter(|variable| variable.group != Group::Tell) {
            assert!(help.contains(variable.name), "{}", variable.name);
        }
        let Ok(Typed::Print(version)) = typed(&["--version"]) else { panic!() };
        assert_eq!(version.trim(), concat!("segura-agent ", env!("CARGO_PKG_VERSION")));
        assert!(matches!(typed(&["init"]), Ok(Typed::Run(_))));
    }
}
