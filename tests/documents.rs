//! What the pages say, held against the sources, the binary and each other.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that can't go on fails the test that called it"
)]

mod links;
mod mermaid;
mod messages;
mod operations;
mod shown;
mod sources;

use crate::harness::tree;

/// A page by its path below the package.
pub struct Page {
    pub path: String,
    pub text: String,
}

/// A fenced block: what stands after the fence's marks, and the lines within.
pub struct Fence<'a> {
    pub kind: &'a str,
    pub lines: Vec<&'a str>,
}

impl Page {
    pub fn read(path: &str) -> Self {
        Self { path: path.to_owned(), text: tree::text(path) }
    }

    /// The lines outside of fenced blocks.
    pub fn prose(&self) -> Vec<&str> {
        let mut inside = false;
        let outside = |line: &&str| {
            let fence = is_fence(line);
            inside ^= fence;
            !inside && !fence
        };
        self.text.lines().filter(outside).collect()
    }

    /// Every fenced block.
    pub fn fences(&self) -> Vec<Fence<'_>> {
        let mut fences = Vec::new();
        let mut open: Option<Fence<'_>> = None;
        for line in self.text.lines() {
            match (&mut open, is_fence(line)) {
                (None, true) => {
                    let kind = line.trim_start().trim_start_matches('`').trim();
                    open = Some(Fence { kind, lines: Vec::new() });
                }
                (Some(_), true) => fences.extend(open.take()),
                (Some(fence), false) => fence.lines.push(line),
                (None, false) => {}
            }
        }
        assert!(open.is_none(), "{}: a fenced block has no end", self.path);
        fences
    }

    /// Headings, by their text.
    pub fn headings(&self) -> Vec<&str> {
        let prose = self.prose();
        let titles = prose.into_iter().filter(|line| line.starts_with('#'));
        titles.map(|line| line.trim_start_matches('#').trim()).collect()
    }

    /// First cells of the rows of tables whose first column is headed by `head`.
    pub fn rows(&self, head: &str) -> Vec<&str> {
        let mut rows = Vec::new();
        let mut within = false;
        for line in self.prose() {
            let Some(cell) = line.strip_prefix("| ").and_then(|rest| rest.split(" |").next())
            else {
                within &= line.starts_with("|--");
                continue;
            };
            if cell == head {
                within = true;
            } else if within {
                rows.push(cell);
            }
        }
        rows
    }
}

/// The texts between backticks; between two on each side, one alone is part of the text.
pub fn spans(text: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let within = &rest[start..];
        let marks = if within.starts_with("``") { "``" } else { "`" };
        let Some((span, after)) = within[marks.len()..].split_once(marks) else {
            panic!("a backtick too many: {text}");
        };
        spans.push(span.trim());
        rest = after;
    }
    spans
}

/// Every page that people read.
pub fn pages() -> Vec<Page> {
    tree::pages().iter().map(|path| Page::read(path)).collect()
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}
