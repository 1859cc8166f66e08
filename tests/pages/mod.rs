//! The pages that are made from the code: every variable, the manual, the shells' completions.
//!
//! `cargo run --example pages` writes them again; a test holds those that are committed to the code.

mod completions;
mod manual;
mod variables;

#[cfg(test)]
mod tests;

/// A page: where it is, below the root of the project, and what it says.
pub struct Page {
    pub path: String,
    pub text: String,
}

/// All of them.
pub fn all() -> Vec<Page> {
    let mut pages = vec![variables::page()];
    pages.extend(manual::pages());
    pages.extend(completions::pages());
    pages
}
