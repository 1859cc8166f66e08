//! The manual: one page for the whole, and one for each command.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use segura_agent::commands::args::Args;
use segura_agent::config::variables::{ALIASES, FOREIGN, Group, VARIABLES};
use segura_agent::exit::CODES;

use super::Page;

const FILES: [(&str, &str); 3] = [
    ("/run/secrets/segura/<identity>/<key>", "the value's exact bytes, no newline added"),
    (
        "/run/secrets/segura/<identity>/<n>/<key>",
        "each data entry by itself, if a secret has several",
    ),
    (
        "/run/secrets/segura/.segura.json",
        "the state: generation, versions, times, failures; no value",
    ),
];

pub fn pages() -> Vec<Page> {
    let mut command = Args::command();
    command.build();
    let mut pages = vec![page(&command, |roff| {
        listed(roff, "FILES", FILES);
        environment(roff);
        listed(roff, "EXIT STATUS", CODES.iter().copied());
    })];
    below(&command, &mut pages);
    pages
}

/// A page for each command below this one.
fn below(command: &Command, pages: &mut Vec<Page>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(command, |roff| {
            roff.control("SH", ["SEE ALSO"]);
            roff.text([
                bold("segura-agent"),
                roman("(1) has the environment and the exit status."),
            ]);
        }));
        below(command, pages);
    }
}

fn page(command: &Command, more: impl FnOnce(&mut Roff)) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("segura-agent")
        .source(concat!("segura-agent ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    let rendered = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text));
    rendered.expect("a text takes all");
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut text).expect("a text takes all");
    }
    let mut roff = Roff::new();
    more(&mut roff);
    text.extend(roff.render().into_bytes());
    let text = String::from_utf8(text).expect("help is text");
    Page { path: format!("man/{name}.1"), text }
}

fn environment(roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    for group in Group::ALL {
        roff.control("SS", [group.title()]);
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            let meaning = format!("{} [{}]", variable.meaning, variable.default);
            entry(roff, variable.name, &meaning);
        }
    }
    roff.control("SS", ["Variables of others"]);
    for (name, meaning) in FOREIGN {
        entry(roff, name, meaning);
    }
    for name in ALIASES {
        entry(roff, name, "the vendor's own name, accepted if the SEGURA_ name is unset");
    }
}

fn listed<'a>(roff: &mut Roff, title: &str, entries: impl IntoIterator<Item = (&'a str, &'a str)>) {
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        entry(roff, name, meaning);
    }
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}
