//! `docs/security.md`: each claim names a test that is there, and what it says of the sandbox is so.

use segura_agent::os::sandbox::{ABI, governed};

use crate::documents::Page;
use crate::harness::tree;

fn page() -> Page {
    Page::read("docs/security.md")
}

#[test]
fn each_claim_names_its_test() {
    let page = page();
    let rows = page.text.lines().filter(|line| line.contains("](../tests/"));
    let claims: Vec<&str> = rows.filter(|line| line.starts_with("| ")).collect();
    assert!(claims.len() >= 20, "{} claims are found", claims.len());
    for claim in claims {
        let (_, link) = claim.split_once("](../").expect("a link");
        let (path, rest) = link.split_once("): `").expect("a test after its file");
        let (name, end) = rest.split_once('`').expect("its name");
        assert_eq!(end, " |", "{claim}");
        let source = tree::text(path);
        assert!(source.contains(&format!("#[test]\nfn {name}()")), "{path} has no test {name}");
    }
}

#[test]
fn every_party_of_the_title_has_its_claim_and_every_denial_its_kernel() {
    let text = page().text;
    for party in [
        "network",
        "vault",
        "disk",
        "swap",
        "another uid",
        "same uid",
        "reader",
        "app",
        "supply chain",
    ] {
        assert!(text.lines().any(|line| line.starts_with("| ") && line.contains(party)), "{party}");
    }
    // The kernel of each ABI that adds to what is governed (`landlock(7)`).
    let kernels = [(ABI::V2, "5.19"), (ABI::V3, "6.2"), (ABI::V4, "6.7")];
    let mut before = governed(ABI::V1);
    for (abi, kernel) in kernels {
        assert_ne!(governed(abi), before, "{abi:?} adds something");
        before = governed(abi);
        assert!(text.lines().any(|line| line.ends_with(&format!("| {kernel} |"))), "{kernel}");
    }
}
