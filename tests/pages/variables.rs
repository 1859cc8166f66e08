//! `docs/variables.md`.

use std::fmt::Write;

use segura_agent::config::variables::{ALIASES, FOREIGN, Group, VARIABLES};

use super::Page;

const HEAD: &str = "\
<!-- Made from src/config/variables.rs by `cargo run --example pages`. -->

# Every variable

Every setting is an environment variable. An empty value means unset. Durations are written `500ms`, `30s`, `5m`, `1h`; booleans
`true` or `false`. A name that starts with `SEGURA_` and is not listed here is an error, since a typo must not pick a default; under `exec` it is
a warning, because its environment is also the app's. Names that a Service of the namespace puts into every pod
(`SEGURA_SERVICE_HOST` and the like) are ignored. All problems are reported at once, by name and never by value.
`segura-agent init --help`, and the help of each other command, shows the variables that matter for it.
";

pub fn page() -> Page {
    let mut text = HEAD.to_owned();
    for group in Group::ALL {
        let read = match group {
            Group::Notify => "\nRead by `sidecar` and `exec`.\n",
            Group::Exec => "\nRead by `exec`.\n",
            Group::Vault | Group::Pod | Group::Fetch | Group::Write | Group::Watch => "",
        };
        write!(
            text,
            "\n## {}\n{read}\n| variable | default | meaning |\n|---|---|---|\n",
            group.title()
        )
        .expect("a text takes all");
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            let (name, default, meaning) = (variable.name, variable.default, variable.meaning);
            writeln!(text, "| `{name}` | {} | {} |", cell(default), cell(meaning))
                .expect("a text takes all");
        }
    }
    text.push_str("\n## Variables of others\n\n| variable | meaning |\n|---|---|\n");
    for (name, meaning) in FOREIGN {
        writeln!(text, "| `{name}` | {} |", cell(meaning)).expect("a text takes all");
    }
    let aliases = ALIASES.map(|name| format!("`{name}`")).join(", ");
    write!(
        text,
        "\nThe vendor's own {aliases} are each accepted\nif the `SEGURA_` name is unset. {DROP_IN}"
    )
    .expect("a text takes all");
    Page { path: "docs/variables.md".to_owned(), text }
}

const DROP_IN: &str = "\
With only those set, the agent is a drop-in for the vendor's historic
sidecar: output directory `senhasegura` in the folder that is named, or in `/var/run/secrets`, modes 0444 and 0755, and a disk is a warning.
";

/// A text as a table's cell holds it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
