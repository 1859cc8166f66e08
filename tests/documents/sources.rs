//! The string literals of the agent's sources, with `…` where a format string has a placeholder.

use crate::harness::tree;

/// What one file of the agent says: its code as it is, and where its literals stand.
pub struct Source {
    pub path: String,
    pub literals: Vec<Literal>,
    /// The code with every literal left empty, so that brackets can be counted.
    pub code: String,
}

/// One string literal.
#[derive(Clone, Debug)]
pub struct Literal {
    /// Its text, placeholders shown as `…`.
    pub text: String,
    /// Where its quotes stand in the code.
    pub at: usize,
}

impl Source {
    /// The literals in every call that begins with `opening`, such as `tracing::warn!(`.
    pub fn within(&self, opening: &str) -> Vec<Vec<&Literal>> {
        let mut calls = Vec::new();
        for (start, _) in self.code.match_indices(opening) {
            let inside = start + opening.len();
            let mut depth = 1_u32;
            let end = self.code[inside..].find(|c| {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            let end = inside + end.expect("a call ends");
            calls.push(self.literals.iter().filter(|l| (inside..end).contains(&l.at)).collect());
        }
        calls
    }

    /// Whether a literal is the value of a field such as `hint = "…"`.
    pub fn is_field(&self, literal: &Literal) -> bool {
        self.code[..literal.at].trim_end().ends_with('=')
    }
}

/// Every source of the agent, without its tests.
pub fn sources() -> Vec<Source> {
    let of = |source: tree::Source| {
        let (code, literals) = scan(source.without_tests());
        Source { path: source.path, literals, code }
    };
    tree::agent().into_iter().map(of).collect()
}

/// Parts code from its literals; comments are dropped.
fn scan(text: &str) -> (String, Vec<Literal>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut literals, mut at) = (String::new(), Vec::new(), 0);
    let is =
        |at: usize, wanted: &str| chars[at..].iter().copied().take(wanted.len()).eq(wanted.chars());
    while at < chars.len() {
        if is(at, "//") {
            at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at);
        } else if is(at, "r\"") || is(at, "r#\"") {
            let hash = is(at, "r#\"");
            let close = if hash { "\"#" } else { "\"" };
            let start = at + 2 + usize::from(hash);
            let end = (start..chars.len()).find(|end| is(*end, close)).expect("a literal ends");
            let raw: String = chars[start..end].iter().collect();
            literals.push(Literal { text: shown(&raw), at: code.len() });
            code.push_str("\"\"");
            at = end + close.len();
        } else if chars[at] == '"' {
            let (written, end) = quoted(&chars, at + 1);
            literals.push(Literal { text: shown(&written), at: code.len() });
            code.push_str("\"\"");
            at = end;
        } else if chars[at] == '\'' && (is(at + 2, "'") || is(at + 1, "\\")) {
            // A character, which may be a quote or a bracket; else it is a lifetime.
            let end = (at + 2..chars.len()).find(|end| chars[*end] == '\'' && *end > at + 1);
            let end = end.expect("a character ends");
            at = if is(at + 1, "\\'") { end + 2 } else { end + 1 };
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    (code, literals)
}

/// A literal's text from behind its opening quote, and where the code goes on.
fn quoted(chars: &[char], start: usize) -> (String, usize) {
    let (mut text, mut at) = (String::new(), start);
    while chars[at] != '"' {
        if chars[at] != '\\' {
            text.push(chars[at]);
            at += 1;
            continue;
        }
        match chars[at + 1] {
            'n' => text.push('\n'),
            '\n' => {
                // The line goes on at the next one's first letter.
                at += 1;
                while chars[at].is_whitespace() {
                    at += 1;
                }
                continue;
            }
            other => text.push(other),
        }
        at += 2;
    }
    (text, at + 1)
}

/// `{…}` as `…`, and doubled braces as one.
fn shown(format: &str) -> String {
    let doubled = format.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut text = String::new();
    let mut rest = doubled.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, behind)) = after.split_once('}') else { break };
        text.push_str(before);
        text.push('…');
        rest = behind;
    }
    text.push_str(rest);
    text.replace('\u{1}', "{").replace('\u{2}', "}")
}

#[test]
fn literals_are_read_as_the_compiler_reads_them() {
    let code =
        "f(\"a {b} {{c}}\", '\"', r#\"d\"e\"#); // \"not\"\nlet x: &'a str = \"f\\\n   g\\\"\";";
    let (code, literals) = scan(code);
    let texts: Vec<&str> = literals.iter().map(|literal| literal.text.as_str()).collect();
    assert_eq!(texts, ["a … {c}", "d\"e", "fg\""]);
    assert_eq!(code, "f(\"\", , \"\"); \nlet x: &'a str = \"\";");
    let source = Source { path: String::new(), literals, code };
    let calls = source.within("f(");
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
}
