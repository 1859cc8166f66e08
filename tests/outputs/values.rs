//! The values that break outputs, and the secrets that hold them.

use std::collections::BTreeMap;

use fastrand::Rng;
use segura_agent::model::{Bundle, Item, PodIdentity, SecretName, SecretSet};
use segura_agent::render::decode::Decode;
use segura_agent::render::name::{Case, Variables};
use segura_agent::render::template::Templates;
use segura_agent::render::{Collision, Layout, RenderError, env::Dialect, render};
use segura_agent::secret::Secret;
use serde_json::json;

use crate::harness::Scene;

/// The secret that holds the values.
pub const IDENTITY: &str = "outputs";

/// Values by key.
pub type Values = BTreeMap<String, String>;

/// What one reader or another takes for something else.
pub const NASTY: &[&str] = &[
    "",
    " ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "'",
    "''",
    "\"",
    "\"\"",
    "`",
    "```",
    "it's",
    "say \"hi\"",
    "'single'",
    "\"double\"",
    "`back`",
    "'\"`",
    "'\\''",
    "'\"'\"'",
    "$x",
    "${x}",
    "${x:-y}",
    "$$",
    "$",
    "a$",
    "$'a'",
    "$\"a\"",
    "my$ecretP@ss!",
    "$(>ran)",
    "`>ran`",
    "';>ran;'",
    "\";>ran;\"",
    "\n>ran\n",
    "'\n>ran\n'",
    "\\",
    "\\\\",
    "\\\\\\",
    "a\\b",
    "a\\\\b",
    "a\\",
    "a\\\\",
    "\\'",
    "\\\"",
    "\\n",
    "\\t\\r\\x41\\u0041\\101",
    "\\$x",
    "a\\\nb",
    "\\\n",
    "line\nbreak",
    "line\n\nbreak\n",
    "\nline",
    "a\rb",
    "a\r",
    "a\r\nb",
    "a\r\n",
    "a\r\r\nb",
    "tab\tbed",
    " leading",
    "trailing ",
    "\tboth\t",
    "# no comment",
    "a # b",
    "a#b",
    "a\n# b\nc",
    "; no comment",
    "a;b",
    "=",
    "a=b",
    "==",
    "a\nNEXT=b",
    "a'\nNEXT='b",
    "export A=b",
    "a\nexport NEXT=b\n",
    "!",
    "!!",
    "~",
    "*",
    "%s %d %%",
    "a & b | c > d < e",
    "-n",
    "-----BEGIN KEY-----\nAAAA+/==\n-----END KEY-----\n",
    "{\"json\": [\"x\", null, \"\\n\"]}",
    "é ß 漢字",
    "\u{1f511}",
    "\u{10ffff}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "e\u{301}",
    "\u{1}",
    "\u{1}'\u{7f}'\u{1}",
    "\u{7}\u{8}\u{b}\u{c}\u{1b}[0m\u{1f}",
    "\u{7f}",
    "\u{80}\u{81}\u{82}\u{83}\u{88}",
    "\u{85}",
    "a\u{85}b",
    "\u{a0}",
    "\u{2028}a\u{2029}",
    "\u{feff}",
    "\u{feff}a",
    "true",
    "no",
    "~",
    "null",
    "1e3",
    "0x1f",
    "007",
    ".inf",
    "1_000",
    "12:30:45",
    "2001-12-14",
    "2001-12-14t21:59:43.10-05:00",
    "- a",
    "a: b",
    "? a",
    "&a *a !!str",
    "--- a",
    "...",
    "%YAML 1.1",
    "@a",
    "<<",
];

/// What random values are made of.
const ALPHABET: &[&str] = &[
    "'",
    "'",
    "\"",
    "\"",
    "`",
    "$",
    "${x}",
    "$x",
    "$(>ran)",
    "\\",
    "\\\\",
    "\\'",
    "\\n",
    "\n",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    " ",
    "#",
    " #",
    ";",
    "=",
    ":",
    "!",
    "%",
    "&",
    "*",
    "~",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    "|",
    ",",
    "-",
    "?",
    "@",
    "^",
    "/",
    "a",
    "b",
    "x",
    "A",
    "0",
    "7",
    "é",
    "\u{1f511}",
    "\u{1}",
    "\u{2}",
    "\u{8}",
    "\u{b}",
    "\u{c}",
    "\u{1b}",
    "\u{7f}",
    "\u{80}",
    "\u{81}",
    "\u{84}",
    "\u{85}",
    "\u{88}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{ffff}",
    "K=",
    "export ",
    "\nK=",
];

/// Every nasty value and `random` arbitrary ones, by keys that are variables, too.
pub fn values(random: usize) -> Values {
    let mut rng = Rng::with_seed(0x5e67_72a1);
    let arbitrary = (0..random).map(|_| {
        let pieces = 0..rng.usize(1..14);
        pieces.filter_map(|_| rng.choice(ALPHABET)).copied().collect::<String>()
    });
    let all = NASTY.iter().map(|value| (*value).to_owned()).chain(arbitrary);
    all.enumerate().map(|(n, value)| (format!("V{n:05}"), value)).collect()
}

/// Whether systemd takes it for no UTF-8: it refuses Unicode's noncharacters.
pub fn has_noncharacter(value: &str) -> bool {
    let is = |code: u32| code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code);
    value.chars().any(|character| is(character.into()))
}

/// One secret with one entry.
pub fn bundle(values: &Values) -> Bundle {
    let item = |(key, value): (&String, &String)| Item {
        key: key.clone(),
        value: Secret::new(value.clone()),
    };
    let set = SecretSet {
        id: "1".to_owned(),
        name: IDENTITY.to_owned(),
        version: "1".to_owned(),
        engine: "Generic".to_owned(),
        expiration: String::new(),
        renew: None,
        entries: vec![values.iter().map(item).collect()],
    };
    let name = SecretName::new(IDENTITY).expect("it is a name");
    Bundle { secrets: [(name, set)].into(), ..Bundle::default() }
}

/// What makes an env file of one dialect, and nothing else.
pub fn env(dialect: Dialect) -> Layout {
    Layout {
        files: false,
        env: Some("secrets.env".to_owned()),
        dialect,
        json: None,
        yaml: None,
        properties: None,
        templates: Templates::default(),
        pod: PodIdentity {
            name: "web-0".to_owned(),
            uid: None,
            namespace: None,
            deploy: "web".to_owned(),
        },
        environment: false,
        variables: Variables::new("{key}", Case::Keep).expect("it is a pattern"),
        collision: Collision::Last,
        decode: Decode::default(),
    }
}

/// An env file, made by the library alone.
pub fn rendered(dialect: Dialect, values: &Values) -> Result<Vec<u8>, RenderError> {
    let bundle = bundle(values);
    let rendering = render(&bundle, &env(dialect))?;
    let mut files = rendering.files.iter().filter(|(name, _)| !name.is_hidden());
    let (_, content) = files.next().expect("one file is wanted");
    Ok(content.expose().to_vec())
}

/// Why a dialect refuses a value, if it does.
pub fn refusal(dialect: Dialect, key: &str, value: &str) -> Option<RenderError> {
    rendered(dialect, &[(key.to_owned(), value.to_owned())].into()).err()
}

/// The values that a dialect takes, each proven alone.
///
/// Those that it refuses have to be reported by name, with the reason and a proposal, and have to be
/// those that `refused` says, so that a dialect can't pass by refusing everything.
#[track_caller]
pub fn taken(dialect: Dialect, values: Values, refused: impl Fn(&str) -> bool) -> Values {
    let mut taken = Values::new();
    for (key, value) in values {
        let Some(error) = refusal(dialect, &key, &value) else {
            assert!(!refused(&value), "{dialect} takes {value:?}");
            taken.insert(key, value);
            continue;
        };
        let reported = error.to_string();
        assert!(refused(&value), "{dialect} refuses {value:?}: {reported}");
        assert!(reported.contains(&format!("{key:?} of {IDENTITY}")), "{reported}");
        assert!(reported.contains(&format!("dialect {dialect}: it ")), "{reported}");
        assert!(
            error.hint().contains("file") && error.hint().contains("base64"),
            "{}",
            error.hint()
        );
    }
    taken
}

/// A pod that asks for one secret with these values, and for nothing of its own.
pub fn scene(values: &Values) -> Scene {
    let mut scene = Scene::new();
    scene.vault.set_data(IDENTITY, json!(values));
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", IDENTITY);
    scene
}

/// The same, its values published in one env file.
#[track_caller]
pub fn env_scene(dialect: Dialect, values: &Values) -> Scene {
    let mut scene = scene(values);
    scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", dialect.as_str());
    scene.init().exits(0);
    scene
}

/// The same for each value alone, without a following line that could close its quotes.
#[track_caller]
pub fn alone(dialect: Dialect, values: &[&str]) -> Vec<(Scene, Values)> {
    let single = |value: &&str| -> Values { [("K".to_owned(), (*value).to_owned())].into() };
    values.iter().map(single).map(|value| (env_scene(dialect, &value), value)).collect()
}

/// Asserts that the agent refuses one value in an env file: the exit code, and that key, dialect,
/// reason and a proposal are reported, and the value isn't.
#[track_caller]
pub fn is_refused(dialect: Dialect, value: &str, reason: &str) {
    let canary = format!("canary-{value}");
    let mut scene = scene(&[("the-key".to_owned(), canary)].into());
    scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", dialect.as_str());
    let run = scene.init();
    run.exits(78);
    let error = run.error();
    for part in ["\"the-key\" of outputs", dialect.as_str(), reason] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let hint = run.hint().unwrap_or_default();
    assert!(hint.contains("SEGURA_OUTPUT=files") && hint.contains("base64"), "{hint}");
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert!(scene.published().is_empty(), "{dialect}");
}

/// Asserts that a reader has read all of this and nothing else, and shows what differs if not.
#[track_caller]
pub fn assert_same(reader: &str, read: &Values, expected: &Values) {
    let differs = |(key, value): &(&String, &String)| read.get(*key) != Some(value);
    let wrong = expected.iter().filter(differs).take(5);
    let wrong: Vec<_> = wrong.map(|(key, value)| (key, value, read.get(key))).collect();
    assert!(wrong.is_empty(), "{reader}: key, expected, read: {wrong:#?}");
    let surplus: Vec<_> = read.keys().filter(|key| !expected.contains_key(*key)).take(5).collect();
    assert!(surplus.is_empty(), "{reader} read more: {surplus:?}");
}
