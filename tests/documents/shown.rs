//! What `docs/troubleshooting.md` shows of a fatal error is what the binary prints.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use super::Page;
use crate::{
    dev_vault::Fault,
    harness::{Run, Scene, host::skip, side_by_side},
};

/// A comment of this kind names the block that follows.
const MARK: &str = "<!-- shown: ";

/// How each block is provoked: what is done to a pod that gives up after 1.5 s, and what is run.
type Provoke = fn(&mut Scene) -> Run;

const CASES: [(&str, i32, Provoke); 15] = [
    ("no-such-command", 64, |scene| scene.run(&["sidecars"])),
    ("nobody-listens", 69, |scene| {
        scene.vault.go_down();
        scene.init()
    }),
    ("unknown-authority", 69, |scene| scene.unset("SEGURA_CA_FILE").init()),
    ("on-a-disk", 73, |scene| {
        let disk = scene.vault.dir().join("disk");
        fs::create_dir(&disk).expect("the vault's folder is ours");
        scene.set("SEGURA_OUTPUT_DIR", &disk.display().to_string()).init()
    }),
    ("no-directory", 73, |scene| scene.set("SEGURA_OUTPUT_DIR", "/no/such/volume").init()),
    ("held", 73, |scene| {
        let sidecar = scene.renewing_sidecar();
        let run = scene.init();
        sidecar.stop();
        run
    }),
    ("a-login-page", 76, |scene| {
        scene.vault.fault(Fault::answer("", 200, "<html>"));
        scene.init()
    }),
    ("wrong-pair", 77, |scene| scene.set("SEGURA_CLIENT_SECRET", "canary-that-is-wrong").init()),
    ("inactive", 77, |scene| {
        scene.vault.set_enabled(false);
        scene.init()
    }),
    ("turned-away", 77, |scene| {
        scene.vault.fault(Fault::no_route("coe/dapp/provision"));
        scene.init()
    }),
    ("settings", 78, |scene| {
        scene.unset("SEGURA_URL").set("SEGURA_URLL", "https://vault.example.com");
        scene.set("SEGURA_TIMEOUT", "10").init()
    }),
    ("no-such-identity", 78, |scene| scene.set("SEGURA_IDENTITY", "no-such-secret").init()),
    ("no-secret-file", 78, |scene| {
        scene.unset("SEGURA_CLIENT_SECRET");
        scene.set("SEGURA_CLIENT_SECRET_FILE", "/no/such/volume/client-secret").init()
    }),
    ("dialect", 78, |scene| {
        scene.vault.set_data("app", json!([{ "password": "it's a canary" }]));
        scene.set("SEGURA_IDENTITY", "app").set("SEGURA_SOURCE", "secret");
        scene.set("SEGURA_OUTPUT", "env").set("SEGURA_ENV_DIALECT", "k8s").init()
    }),
    ("not-found", 127, |scene| scene.run(&["exec", "--", "/app/no-such-server"])),
];

/// Every block that the page shows, by its name.
fn blocks(page: &Page) -> BTreeMap<&str, Vec<&str>> {
    let mut blocks = BTreeMap::new();
    for part in page.text.split(MARK).skip(1) {
        let (name, rest) = part.split_once(" -->").expect("a comment ends");
        let mut lines = rest.lines().skip(1);
        assert_eq!(lines.next(), Some("```text"), "{name}: a block follows");
        let shown = lines.take_while(|line| *line != "```").collect();
        assert!(blocks.insert(name, shown).is_none(), "{name} is there twice");
    }
    blocks
}

/// Whether a line is what the page shows, which has `…` where it differs from machine to machine.
fn is_shown(line: &str, shown: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else {
        return line == shown;
    };
    let Some(rest) = line.strip_prefix(before) else {
        return false;
    };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.skip(1).any(|end| is_shown(&rest[end..], after))
}

#[test]
fn the_page_shows_what_the_binary_prints() {
    let page = Page::read("docs/troubleshooting.md");
    let blocks = blocks(&page);
    let provoked = CASES.iter().map(|(name, _, _)| *name);
    assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), sorted(provoked), "each is provoked");
    side_by_side(CASES, |(name, code, provoke)| {
        let mut scene = Scene::new();
        scene.set("SEGURA_STARTUP_TIMEOUT", "6s");
        let run = provoke(&mut scene);
        if name == "on-a-disk" && run.code == Some(0) {
            return skip("the_page_shows_what_the_binary_prints", "/tmp is no disk");
        }
        assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
        let printed: Vec<&str> =
            run.stderr.lines().skip_while(|line| !line.starts_with("segura-agent: ")).collect();
        let shown = &blocks[name];
        let same = printed.len() == shown.len()
            && printed.iter().zip(shown).all(|(line, shown)| is_shown(line, shown));
        assert!(same, "{name}: the page shows {shown:#?}, the binary printed {printed:#?}");
        assert!(!run.stderr.contains("canary"), "{name}: {}", run.stderr);
    });
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

/// One that runs, provoked as a cluster would: the log's own line, not the last two.
#[test]
fn the_page_shows_the_warnings_of_a_running_agent() {
    let page = Page::read("docs/troubleshooting.md");
    let rows = page.rows("message").join("\n");
    let mut scene = Scene::new();
    scene.vault.set_data("app", json!([{ "password": "one" }]));
    scene.set("SEGURA_IDENTITY", "secret-postman,app").set("SEGURA_RENEW_INTERVAL", "1s");
    let sidecar = scene.renewing_sidecar();
    let warns = |text: &str| {
        let line = sidecar.until_logged(text);
        assert!(line.contains("\"WARN\"") && line.contains("\"error\""), "{line}");
        assert!(rows.contains(&format!("`{text}`")), "{text}");
    };
    scene.vault.fault(Fault::answer("identity=app", 200, "<html>"));
    warns("held back: its last good version stays published");
    scene.vault.go_down();
    warns("renewal fails; the published set stays, and the agent keeps trying");
    scene.vault.come_back();
    scene.vault.clear_faults();
    for over in ["renewal works again", "no longer held back"] {
        sidecar.until_logged(over);
        assert!(page.text.contains(&format!("`{over}`")), "{over}");
    }
    sidecar.stop();
}
