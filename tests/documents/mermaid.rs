//! Pictures are well-formed as far as can be seen without Mermaid's own parser, which wants a browser:
//! the kind is known; in flowcharts every line is a node, an edge, a subgraph or a style, brackets and
//! quotes are closed, and every edge's ends are named or declared; in sequence diagrams every line is
//! a known statement, blocks end, and every sender and receiver is declared.

use std::collections::BTreeSet;

use super::pages;

#[test]
fn every_picture_is_well_formed() {
    let mut flaws = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for fence in page.fences().into_iter().filter(|fence| fence.kind == "mermaid") {
            seen += 1;
            let found = flaw(&fence.lines).map(|flaw| format!("{}: {flaw}", page.path));
            flaws.extend(found);
        }
    }
    assert!(flaws.is_empty(), "{flaws:#?}");
    assert!(seen >= 2, "only {seen} pictures were found");
}

#[test]
fn a_malformed_picture_is_found() {
    let head = "flowchart TD";
    for lines in [
        &["pie"][..],
        &[head, "a[one --> b"],
        &[head, "a -> b"],
        &[head, "a --> b[\"one]"],
        &[head, "subgraph one", "a --> b"],
        &["sequenceDiagram", "participant a", "a->>b: hello"],
        &["sequenceDiagram", "participant a", "loop always", "a->>a: hello"],
        &["sequenceDiagram", "participant a", "a says hello"],
        &["sequenceDiagram", "participant a", "a->>a"],
    ] {
        assert!(flaw(lines).is_some(), "{lines:?}");
    }
    assert_eq!(flaw(&[head, "a[one] -->|two| b{{three}}"]), None);
}

/// What is wrong with a picture, if anything.
fn flaw(lines: &[&str]) -> Option<String> {
    let mut lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let head = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.filter(|line| !line.starts_with("%%")).collect();
    match head.split(' ').next() {
        Some("flowchart") => flowchart(&rest),
        Some("sequenceDiagram") => sequence(&rest),
        _ => Some(format!("{head:?} is no kind of picture that is known")),
    }
}

fn flowchart(lines: &[&str]) -> Option<String> {
    let mut open = 0_u32;
    for line in lines {
        if !closed(line) {
            return Some(format!("not closed: {line}"));
        }
        match line.split(' ').next() {
            Some("subgraph") => open += 1,
            Some("end") if open == 0 => return Some("an `end` too many".to_owned()),
            Some("end") => open -= 1,
            Some("style" | "classDef" | "class" | "direction") => {}
            _ => {
                let bare = unlabelled(line);
                let ends = bare.split("-->").flat_map(|part| part.split("-.->"));
                let sound = |end: &str| !end.is_empty() && end.chars().all(char::is_alphanumeric);
                if let Some(end) = ends.map(str::trim).find(|end| !sound(end)) {
                    return Some(format!("{end:?} is no node: {line}"));
                }
            }
        }
    }
    (open > 0).then(|| "a subgraph has no end".to_owned())
}

/// A line without the texts of its nodes and edges.
fn unlabelled(line: &str) -> String {
    let (mut bare, mut depth, mut label) = (String::new(), 0_u32, false);
    for c in line.chars() {
        match c {
            '[' | '(' | '{' if !label => depth += 1,
            ']' | ')' | '}' if !label => depth = depth.saturating_sub(1),
            '|' if depth == 0 => label = !label,
            c if depth == 0 && !label => bare.push(c),
            _ => {}
        }
    }
    bare
}

/// Whether brackets close in the order in which they open, outside of quotes, and quotes do.
fn closed(line: &str) -> bool {
    let (mut open, mut quoted) = (Vec::new(), false);
    for c in line.chars() {
        quoted ^= c == '"';
        let pair = ["[]", "()", "{}"].into_iter().find(|pair| !quoted && pair.contains(c));
        if pair.is_some_and(|pair| pair.starts_with(c)) {
            open.push(pair);
        } else if pair.is_some() && open.pop() != Some(pair) {
            return false;
        }
    }
    open.is_empty() && !quoted && line.matches('|').count().is_multiple_of(2)
}

fn sequence(lines: &[&str]) -> Option<String> {
    let mut known = BTreeSet::new();
    let mut open = 0_u32;
    for line in lines {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "participant" | "actor" => {
                known.insert(rest.split(' ').next().unwrap_or_default());
            }
            "autonumber" | "activate" | "deactivate" => {}
            "loop" | "alt" | "opt" | "par" | "rect" => open += 1,
            "else" | "and" if open > 0 => {}
            "end" if open > 0 => open -= 1,
            "Note" | "note" => {
                let Some((over, _)) = rest.split_once(':') else {
                    return Some(format!("a note without a text: {line}"));
                };
                let names =
                    over.replace("over ", "").replace("right of ", "").replace("left of ", "");
                if let Some(name) = names.split(',').map(str::trim).find(|n| !known.contains(n)) {
                    return Some(format!("{name:?} is not declared: {line}"));
                }
            }
            _ => {
                let Some((ends, _)) = line.split_once(": ") else {
                    return Some(format!("neither a statement nor a message: {line}"));
                };
                let arrows = ["-->>", "->>", "--x", "-x"];
                let parts = arrows.iter().find_map(|arrow| ends.split_once(arrow));
                let Some((from, to)) = parts else {
                    return Some(format!("no arrow: {line}"));
                };
                if let Some(name) = [from, to].into_iter().find(|name| !known.contains(name)) {
                    return Some(format!("{name:?} is not declared: {line}"));
                }
            }
        }
    }
    (open > 0).then(|| "a block has no end".to_owned())
}
