//! The command line: what the user typed, and the help that shows the variables that matter.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::variables::{Group, VARIABLES, Variable};
use crate::exit::{CODES, Exit, Failure};
use crate::probes::Question;

/// Secrets agent for Segura (senhasegura) DevOps Secret Manager.
#[derive(Debug, Parser)]
#[command(name = "segura-agent", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Obtain the secrets once, publish them, exit 0 when everything is readable on disk.
    Init {
        /// Show each file that would be written, and what is new, changed or gone; write nothing.
        ///
        /// Nothing is provisioned: a set of ours that stands is read as a renewal would, else what the
        /// authorization lists. One line a file: what becomes of it, mode, owner, bytes, path.
        #[arg(long)]
        dry_run: bool,
    },
    /// Obtain the secrets, publish them, and keep them fresh until SIGTERM or SIGINT, telling the main
    /// process of changes.
    Sidecar,
    /// Obtain the secrets, then run a command as the container's main process, keep them fresh
    /// beside it, and exit as it exits.
    Exec {
        /// The command and its arguments.
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        words: Vec<OsString>,
    },
    /// Copy this binary into a directory, for another image's entrypoint to use.
    Install {
        /// The directory.
        dir: PathBuf,
    },
    /// Write, list and read secrets of DevOps Secret Manager.
    Secret {
        /// What to do.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Write credentials of PAM Core.
    Credential {
        /// What to do.
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Walk the whole path, from the settings to who would be signalled: one line a step, with the
    /// remedy for what fails. Provisions and writes nothing.
    Doctor,
    /// Give back what this pod was provisioned.
    Deprovision {
        /// The vault's id of one secret; without it, the whole set that stands in the output
        /// directory is given back and taken away.
        #[arg(value_parser = secret_id())]
        secret_id: Option<String>,
    },
    /// What manifests of the vendor's historic sidecar say.
    #[command(hide = true)]
    Kubernetes {
        /// More words.
        #[arg(short, long, global = true, action = ArgAction::Count)]
        verbose: u8,
        /// A file of settings.
        #[arg(short, long, global = true)]
        config: Option<PathBuf>,
        /// What was said.
        #[command(subcommand)]
        command: Historic,
    },
    /// For exec probes: say whether the set is there and kept fresh, exit 0 or 1.
    Check {
        /// What is asked.
        #[arg(default_value = "ready", value_parser = question())]
        question: Question,
    },
}

/// What is done with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Create or update secrets, from documents in JSON or YAML.
    Put(Documents),
    /// List the secrets of the authorization and the names of their keys.
    List {
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
    /// Show one secret and the names of its keys.
    Get {
        /// Its identity.
        identity: String,
        /// How.
        #[command(flatten)]
        shown: Shown,
    },
}

/// Commands of the vendor's historic sidecar.
#[derive(Debug, Subcommand)]
pub enum Historic {
    /// `sidecar`, as it is now.
    Sidecar(Registered),
    /// `init`, for the one type that fetches with the configured pair.
    InitContainer {
        /// What it did: `inject-template` fetched, the others registered an application.
        #[arg(short = 't', long = "type", default_value = "iso", value_parser = ["iso", "inject", "inject-template"])]
        kind: String,
        /// The rest.
        #[command(flatten)]
        registered: Registered,
    },
}

/// What the historic sidecar registered an application by. Nothing of it has an effect.
#[derive(Debug, clap::Args)]
pub struct Registered {
    /// The application.
    #[arg(short, long)]
    pub app_name: Option<String>,
    /// Its system.
    #[arg(short, long)]
    pub system: Option<String>,
    /// Its environment.
    #[arg(short, long)]
    pub environment: Option<String>,
}

/// What is done with credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Create or update credentials, from documents in JSON or YAML.
    Put(Documents),
}

/// Documents, and whether they are sent.
#[derive(Debug, clap::Args)]
pub struct Documents {
    /// The file, in the shape that the vault documents; `-` is stdin. Several documents are a JSON
    /// array or YAML's own. {"from_env": NAME} and {"from_file": PATH} stand for a text.
    pub file: PathBuf,
    /// Find every mistake that can be seen before sending, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// How secrets are shown.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// For people or for scripts.
    #[arg(long, default_value = "table", value_parser = list_format())]
    pub output: ListFormat,
    /// With the values.
    #[arg(long)]
    pub show_values: bool,
}

/// The form in which secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// A table, for people.
    Table,
    /// JSON, for scripts.
    Json,
}

impl ListFormat {
    /// The words of the option, and the form that each stands for.
    const WORDS: [(&str, Self); 2] = [("table", Self::Table), ("json", Self::Json)];
}

fn list_format() -> impl TypedValueParser<Value = ListFormat> {
    PossibleValuesParser::new(ListFormat::WORDS.map(|(word, _)| word)).try_map(|word| {
        let found = ListFormat::WORDS.into_iter().find(|(known, _)| *known == word);
        found.map(|(_, format)| format).ok_or("not a form")
    })
}

fn secret_id() -> impl TypedValueParser<Value = String> {
    NonEmptyStringValueParser::new().try_map(|id| {
        if id.chars().any(char::is_control) { Err("holds a control character") } else { Ok(id) }
    })
}

fn question() -> impl TypedValueParser<Value = Question> {
    PossibleValuesParser::new(Question::WORDS)
        .try_map(|word| Question::parse(&word).ok_or("not a question"))
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
    // The list of variables is long, and only those who ask for it wait for it.
    // Of a command's own words, none asks us.
    let ours = args.iter().take_while(|arg| arg.to_str() != Some("--"));
    let asks = ours.into_iter().any(|arg| matches!(arg.to_str(), Some("-h" | "--help")));
    let command = if asks { with_variables() } else { commands() };
    let parsed = command.try_get_matches_from(args);
    match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => Ok(Typed::Run(args)),
        Err(error) if error.use_stderr() => Err(misused(&error)),
        Err(error) => Ok(Typed::Print(error.render().to_string())),
    }
}

/// The commands, their arguments and what they mean.
pub fn commands() -> clap::Command {
    let named = |command: clap::Command| command.display_name("segura-agent");
    Args::command().mut_subcommands(|family| named(family).mut_subcommands(named))
}

/// The same, with the variables that matter for each.
fn with_variables() -> clap::Command {
    let mut command = commands();
    for (mode, help) in [
        ("init", variables(|v| !matches!(v.group, Group::Notify | Group::Exec))),
        ("sidecar", variables(|variable| variable.group != Group::Exec)),
        ("exec", variables(|_| true)),
        ("check", variables(|variable| CHECKED.contains(&variable.name))),
        ("doctor", variables(|_| true)),
        ("deprovision", variables(|v| !matches!(v.group, Group::Notify | Group::Exec))),
    ] {
        command = command.mut_subcommand(mode, |mode| mode.after_help(help));
    }
    for (family, members) in [("secret", &["put", "list", "get"][..]), ("credential", &["put"])] {
        for member in members {
            let help = variables(|variable| variable.group == Group::Vault);
            command = command.mut_subcommand(family, |family| {
                family.mut_subcommand(*member, |member| member.after_help(help))
            });
        }
    }
    command
}

/// clap explains on several lines; those before the first empty one say what is wrong.
fn misused(error: &clap::Error) -> Failure {
    let rendered = error.render().to_string();
    let said: Vec<&str> =
        rendered.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let said = said.join(" ");
    let said = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing"
    } else {
        said.strip_prefix("error: ").unwrap_or(&said)
    };
    Failure::said(Exit::Usage, format!("cannot understand the command line: {said}"))
        .hint(Some("`segura-agent --help` shows what there is"))
}

/// The settings of `check`, which reads no others.
const CHECKED: [&str; 3] = ["SEGURA_OUTPUT_DIR", "SEGURA_OUTPUT", "SEGURA_MAX_STALE"];

fn variables(matters: impl Fn(&Variable) -> bool) -> String {
    let mut help = String::from("Settings are environment variables:\n");
    for group in Group::ALL {
        let mut shown = VARIABLES.iter().filter(|v| v.group == group && matters(v)).peekable();
        if shown.peek().is_some() {
            write!(help, "\n{}:\n", group.title()).ok();
        }
        for variable in shown {
            let (name, meaning, default) = (variable.name, variable.meaning, variable.default);
            writeln!(help, "  {name:<27} {meaning} [{default}]").ok();
        }
    }
    help.push_str("\nExit codes:\n");
    for (codes, meaning) in CODES {
        writeln!(help, "  {codes:<9} {meaning}").ok();
    }
    help.truncate(help.trim_end().len());
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
        for args in [
            &["frobnicate"][..],
            &[],
            &["init", "--frobnicate"],
            &["init", "x"],
            &["check", "x"],
            &["exec"],
            &["install"],
        ] {
            let failure = typed(args).unwrap_err();
            assert_eq!(failure.exit.code(), 64, "{args:?}");
            assert_eq!(failure.message.lines().count(), 1, "{args:?}");
            assert!(failure.message.starts_with("cannot understand"), "{failure}");
            assert!(!failure.message.ends_with(':'), "{failure}");
        }
    }

    #[test]
    fn help_shows_every_variable_that_init_reads() {
        let Ok(Typed::Print(help)) = typed(&["init", "--help"]) else { panic!() };
        let shows = |help: &str, groups: &[Group]| {
            let own = VARIABLES.iter().filter(|variable| !groups.contains(&variable.group));
            own.clone().count() > 0 && own.into_iter().all(|variable| help.contains(variable.name))
        };
        assert!(shows(&help, &[Group::Notify, Group::Exec]));
        let Ok(Typed::Print(help)) = typed(&["sidecar", "--help"]) else { panic!() };
        assert!(shows(&help, &[Group::Exec]));
        let Ok(Typed::Print(help)) = typed(&["exec", "--help"]) else { panic!() };
        assert!(shows(&help, &[]));
        let Ok(Typed::Print(help)) = typed(&["check", "--help"]) else { panic!() };
        assert!(CHECKED.iter().all(|name| help.contains(name)) && !help.contains("SEGURA_URL"));
        for words in [&["--version"][..], &["init", "--version"], &["secret", "put", "--version"]] {
            let Ok(Typed::Print(version)) = typed(words) else { panic!() };
            assert_eq!(version.trim(), concat!("segura-agent ", env!("CARGO_PKG_VERSION")));
        }
        let Ok(Typed::Print(help)) = typed(&["secret", "list", "--help"]) else { panic!() };
        assert!(help.contains("SEGURA_URL") && !help.contains("SEGURA_OUTPUT"));
        for (args, expected) in [(&["init"][..], false), (&["init", "--dry-run"], true)] {
            let Ok(Typed::Run(Args { command: Command::Init { dry_run } })) = typed(args) else {
                panic!("{args:?}")
            };
            assert_eq!(dry_run, expected);
        }
    }

    #[test]
    fn a_command_keeps_every_word() {
        for (args, expected) in [
            (&["exec", "--", "app", "-x", "--help"][..], &["app", "-x", "--help"][..]),
            (&["exec", "app", "-x", "--help"], &["app", "-x", "--help"]),
            (&["exec", "app", "--", "-y"], &["app", "--", "-y"]),
            (&["exec", "--", "--", "x"], &["--", "x"]),
            (&["exec", "--", "", ""], &["", ""]),
        ] {
            let Ok(Typed::Run(Args { command: Command::Exec { words } })) = typed(args) else {
                panic!("{args:?}")
            };
            assert_eq!(words, expected);
        }
        assert!(typed(&["exec"]).is_err() && typed(&["exec", "--"]).is_err());
        assert!(matches!(typed(&["exec", "--help"]), Ok(Typed::Print(_))));
        assert!(matches!(typed(&["exec", "app", "--version"]), Ok(Typed::Run(_))));
    }

    #[test]
    fn a_check_alone_means_ready() {
        for (args, asked) in [
            (&["check"][..], Question::Ready),
            (&["check", "started"], Question::Started),
            (&["check", "ready"], Question::Ready),
            (&["check", "live"], Question::Live),
        ] {
            let Ok(Typed::Run(Args { command: Command::Check { question } })) = typed(args) else {
                panic!("{args:?}")
            };
            assert_eq!(question, asked);
        }
    }
}
