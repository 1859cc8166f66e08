//! Links lead somewhere, and every page is found from the index.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Page, pages};
use crate::harness::tree;

/// Where a page's links lead, as they are written.
fn targets(page: &Page) -> Vec<String> {
    let mut targets = Vec::new();
    for line in page.prose() {
        // What stands between backticks is no link.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let ends = plain.split("](").skip(1);
        targets.extend(ends.filter_map(|rest| rest.split_once(')')).map(|(to, _)| to.to_owned()));
    }
    targets
}

/// The path of a link of `page`, below the package.
fn resolved(page: &Page, to: &str) -> String {
    let folder = Path::new(&page.path).parent().unwrap_or_else(|| Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(to).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {to} leads out", page.path),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path.display().to_string()
}

/// The anchors of a page's headings, as GitHub makes them: lower case, blanks to hyphens, without
/// what is no letter, digit, hyphen or `_`; the second of a name gets `-1`, and so on.
fn anchors(page: &Page) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in page.headings() {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let numbered = (1..).map(|n| format!("{slug}-{n}"));
        let mut names = std::iter::once(slug.clone()).chain(numbered);
        anchors.extend(names.find(|name| !anchors.contains(name)));
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut dead = Vec::new();
    let mut followed = 0;
    for page in pages() {
        for target in targets(&page) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (to, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if to.is_empty() { page.path.clone() } else { resolved(&page, to) };
            let full = tree::package().join(&path);
            let there = full.exists()
                && (anchor.is_empty()
                    || (path.ends_with(".md") && anchors(&Page::read(&path)).contains(anchor)));
            if !there {
                dead.push(format!("{}: {target}", page.path));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(followed >= 20, "only {followed} links were found");
}

#[test]
fn every_page_of_docs_is_in_the_index() {
    let index = Page::read("docs/README.md");
    let listed: BTreeSet<String> = targets(&index)
        .into_iter()
        .map(|target| resolved(&index, target.split('#').next().unwrap_or_default()))
        .collect();
    let pages = pages().into_iter().map(|page| page.path);
    let missing: Vec<String> = pages
        .filter(|path| path.starts_with("docs/") && path != "docs/README.md")
        .filter(|path| !listed.contains(path))
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not name {missing:?}");
}

#[test]
fn paths_that_manifests_and_pages_name_exist() {
    let mut gone = Vec::new();
    let mut named = 0;
    for path in
        tree::published().iter().filter(|path| path.ends_with(".md") || path.ends_with(".yaml"))
    {
        let text = Page::read(path).text;
        let of_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        for word in text.split(|c: char| !of_path(c)) {
            let word = word.trim_end_matches(['.', '/', '-']);
            let is_path =
                ["docs/", "deploy/", "tests/", "src/"].iter().any(|top| word.starts_with(top));
            if !is_path {
                continue;
            }
            named += 1;
            if !tree::package().join(word).exists() {
                gone.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(gone.is_empty(), "{gone:#?}");
    assert!(named >= 50, "only {named} were found");
}
