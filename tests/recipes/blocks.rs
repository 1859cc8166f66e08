//! The pages of the recipes, and their code blocks: each opens with its language and its name.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a block that is not as it should be fails the test"
)]

use saphyr::{LoadableYamlNode, Yaml};

use crate::harness::tree;

/// A code block of a page.
pub struct Block {
    /// `PAGE/NAME`, by which tests take it.
    pub id: String,
    pub language: String,
    pub text: String,
    /// Where it is, for those who look for it.
    pub place: String,
}

/// Where the volume is mounted in all recipes.
pub const MOUNT: &str = "/run/secrets/segura";

/// The page on migration, which is no recipe but has blocks of the same kind.
const BESIDE: &str = "migration";

/// The names of all pages.
pub fn pages() -> Vec<String> {
    let files = tree::files("docs/recipes");
    let names = files.iter().filter_map(|path| path.strip_prefix("docs/recipes/"));
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".md").map(str::to_owned)).collect();
    names.push(BESIDE.to_owned());
    names.sort();
    names
}

/// The text of a page.
pub fn page(name: &str) -> String {
    let folder = if name == BESIDE { "docs" } else { "docs/recipes" };
    tree::text(&format!("{folder}/{name}.md"))
}

/// Every code block of every page.
pub fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|name| blocks_of(name)).collect()
}

fn blocks_of(name: &str) -> Vec<Block> {
    let text = page(name);
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let place = format!("docs/recipes/{name}.md:{}", number + 1);
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                let words: Vec<&str> = info.split(' ').collect();
                let [language, file] = words.as_slice() else {
                    panic!("{place}: a block opens with its language and its name, not {info:?}");
                };
                let id = format!("{name}/{file}");
                let language = (*language).to_owned();
                blocks.push(Block { id, language, text: String::new(), place });
                open = true;
            }
            None if open => {
                let block = blocks.last_mut().expect("it was opened");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "docs/recipes/{name}.md: a block that does not end");
    blocks
}

/// The text of one block.
#[track_caller]
pub fn text(id: &str) -> String {
    let found = blocks().into_iter().find(|block| block.id == id);
    found.unwrap_or_else(|| panic!("no recipe has {id}")).text
}

/// The variables of a block that is the `env` of a container.
#[track_caller]
pub fn env(id: &str) -> Vec<(String, String)> {
    let text = text(id);
    let documents = Yaml::load_from_str(&text).expect("it is YAML");
    let list = documents[0]["env"].as_vec().unwrap_or_else(|| panic!("{id} has no env"));
    let field = |entry: &Yaml<'_>, name: &str| {
        let text = entry[name].as_str();
        text.unwrap_or_else(|| panic!("{id}: {name} of {entry:?} is no string")).to_owned()
    };
    list.iter().map(|entry| (field(entry, "name"), field(entry, "value"))).collect()
}

/// The words of a block that is the `command` of a container.
#[track_caller]
pub fn command(id: &str) -> Vec<String> {
    let text = text(id);
    let documents = Yaml::load_from_str(&text).expect("it is YAML");
    let words = documents[0]["command"].as_vec().unwrap_or_else(|| panic!("{id} has no command"));
    words.iter().map(|word| word.as_str().expect("a string").to_owned()).collect()
}
