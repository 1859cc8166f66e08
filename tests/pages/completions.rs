//! What shells complete.

use clap_complete::{Shell, generate};
use segura_agent::commands::args;

use super::Page;

const NAME: &str = "segura-agent";

pub fn pages() -> Vec<Page> {
    let named = [
        (Shell::Bash, format!("{NAME}.bash")),
        (Shell::Zsh, format!("_{NAME}")),
        (Shell::Fish, format!("{NAME}.fish")),
    ];
    named.into_iter().map(|(shell, file)| page(shell, &file)).collect()
}

fn page(shell: Shell, file: &str) -> Page {
    let mut text = Vec::new();
    generate(shell, &mut shown(), NAME, &mut text);
    let text = String::from_utf8(text).expect("what the command line takes is text");
    // clap_complete 4.6 has two names for a state of bash's where the binary's has a hyphen.
    let text = text.replace("segura__subcmd__agent", "segura__agent");
    Page { path: format!("completions/{file}"), text }
}

/// The commands without those that are for old manifests, which clap would have shells propose.
fn shown() -> clap::Command {
    let all = args::commands();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let none = clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION"));
    none.propagate_version(true).disable_help_subcommand(true).subcommands(shown)
}
