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
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch the secrets once, publish them, exit 0 when everything is readable on disk.
    Init {
        /// Show each file of the set, and whether it is new, changed, gone or the same; write nothing.
        ///
        /// Provisions nothing: if a set of this pod is published, its secrets are read as a renewal reads
        /// them, else as the authorization lists them. One line a file: change, mode, owner, bytes, path.
        #[arg(long)]
        dry_run: bool,
    },
    /// Fetch the secrets, publish them, and renew them until SIGTERM or SIGINT; notify the main process
    /// of each change.
    Sidecar,
    /// Fetch the secrets, run a command as the container's main process, renew the secrets beside it,
    /// and exit with its code.
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
        /// The command.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Write credentials of PAM Core.
    Credential {
        /// The command.
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Examine the whole path, from the settings to the processes that would be notified: one line a
    /// step, with a remedy for each failure. Provisions and writes nothing.
    Doctor,
    /// Deprovision the secrets of this pod.
    Deprovision {
        /// The vault's id of one secret; without it, the whole set in the output directory is
        /// deprovisioned and removed.
        #[arg(value_parser = secret_id())]
        secret_id: Option<String>,
    },
    /// The command line of the vendor's historic sidecar.
    #[command(hide = true)]
    Kubernetes {
        /// Accepted without effect.
        #[arg(short, long, global = true, action = ArgAction::Count)]
        verbose: u8,
        /// A file of settings.
        #[arg(short, long, global = true)]
        config: Option<PathBuf>,
        /// The historic command.
        #[command(subcommand)]
        command: Historic,
    },
    /// Answer an exec probe on the published set and its agent: one line, exit 0 or 1.
    Check {
        /// The question.
        #[arg(default_value = "ready", value_parser = question())]
        question: Question,
    },
}

/// The commands on secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Create or update secrets, from documents in JSON or YAML.
    ///
    /// A put replaces all keys of a secret, and switches off each renewal that its document does not
    /// state; a warning names both where the vault can be read.
    Put {
        /// The documents.
        #[command(flatten)]
        documents: Documents,
        /// Keep the keys and the renewals that a document does not name: the secret is read first.
        #[arg(long)]
        merge: bool,
    },
    /// List the secrets of the authorization and the names of their keys.
    List {
        /// The form of the output.
        #[command(flatten)]
        shown: Shown,
    },
    /// Show one secret and the names of its keys.
    Get {
        /// Its identity.
        identity: String,
        /// The form of the output.
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
        /// The historic type: `inject-template` fetched, the others registered an application.
        #[arg(short = 't', long = "type", default_value = "iso", value_parser = ["iso", "inject", "inject-template"])]
        kind: String,
        /// The other options.
        #[command(flatten)]
        registered: Registered,
    },
}

/// The names by which the historic sidecar registered an application. They have no effect.
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

/// The commands on credentials.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Create or update credentials, from documents in JSON or YAML.
    Put(Documents),
}

/// Documents, to be sent or only checked.
#[derive(Debug, clap::Args)]
pub struct Documents {
    /// The file, in the shape that the vault documents; `-` is stdin. Several documents are a JSON
    /// array or YAML's own. {"from_env": NAME} and {"from_file": PATH} stand for a string.
    pub file: PathBuf,
    /// Write nothing; report every mistake that the documents show and, where a vault is set, what each
    /// put of a secret replaces.
    #[arg(long)]
    pub dry_run: bool,
}

/// The form in which a command shows secrets.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// A table for people, or JSON for scripts.
    #[arg(long, default_value = "table", value_parser = list_format())]
    pub output: ListFormat,
    /// Show the values, too.
    #[arg(long)]
    pub show_values: bool,
}

/// The format of shown secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// A table, for people.
    Table,
    /// JSON, for scripts.
    Json,
}

impl ListFormat {
    /// The words of the option, and the format that each selects.
    const WORDS: [(&str, Self); 2] = [("table", Self::Table), ("json", Self::Json)];
}

fn list_format() -> impl TypedValueParser<Value = ListFormat> {
    PossibleValuesParser::new(ListFormat::WORDS.map(|(word, _)| word)).try_map(|word| {
        let found = ListFormat::WORDS.into_iter().find(|(known, _)| *known == word);
        found.map(|(_, format)| format).ok_or("not a format")
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

/// The result of reading the command line.
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
    // The list of variables is long: it is made only for `--help`. A `--help` after `--` belongs to
    // the command of `exec`.
    let mut own = args.iter().take_while(|arg| arg.to_str() != Some("--"));
    let asks_for_help = own.any(|arg| matches!(arg.to_str(), Some("-h" | "--help")));
    let command = if asks_for_help { with_variables() } else { commands() };
    let parsed = command.try_get_matches_from(args);
    match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => Ok(Typed::Run(args)),
        Err(error) if error.use_stderr() => Err(misused(&error)),
        Err(error) => Ok(Typed::Print(error.render().to_string())),
    }
}

/// The commands, their arguments and their help.
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

/// Makes a failure of clap's text, whose lines before the first empty one name the mistake.
fn misused(error: &clap::Error) -> Failure {
    let rendered = error.render().to_string();
    let lines: Vec<&str> =
        rendered.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let mistake = lines.join(" ");
    let mistake = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing"
    } else {
        mistake.strip_prefix("error: ").unwrap_or(&mistake)
    };
    Failure::said(Exit::Usage, format!("cannot understand the command line: {mistake}"))
        .hint(Some("`segura-agent --help` lists the commands"))
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
    fn a_wrong_command_line_is_one_line_and_64() {
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
