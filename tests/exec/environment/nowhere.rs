//! `SEGURA_OUTPUT=none`: the entries are in the command's environment and nowhere else.

use std::fs;

use serde_json::json;

use super::super::basics::Held;
use super::{expected, given, refused, scene_with, scene_with_changes};
use crate::harness::{Scene, side_by_side, sidecar::Sidecar};

/// Changes where nothing is to be written, and names what is then in the scene's directory.
type Place = fn(&mut Scene) -> &'static [&'static str];

const PLACES: [Place; 3] = [
    |scene| {
        let dir = scene.path("there");
        fs::create_dir(&dir).expect("the directory is ours");
        scene.set("SEGURA_OUTPUT_DIR", &dir.display().to_string());
        &["there"]
    },
    |scene| {
        let missing = scene.path("missing").display().to_string();
        scene.set("SEGURA_OUTPUT_DIR", &missing);
        &[]
    },
    |scene| {
        scene.unset("SEGURA_OUTPUT_DIR");
        &[]
    },
];

#[test]
fn with_output_none_no_file_is_written_and_changes_reach_the_command() {
    side_by_side(PLACES, |place| {
        let mut scene = scene_with_changes();
        let entries = place(&mut scene);
        scene.set("SEGURA_OUTPUT", "none");
        let wrapper = Held::script(&scene, "echo \"has $app_k $other_k.\"");
        wrapper.until_printed("has one one.\n");
        for question in ["started", "ready", "live"] {
            let (holds, line) = scene.check(question);
            assert!(holds && line.contains("SEGURA_OUTPUT=none"), "{line}");
        }
        scene.vault.set_data("app", json!({"k": "two"}));
        wrapper.until_printed("has two one.\n");
        let run = wrapper.release();
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), "has one one.\nhas two one.\n"));
        scene.set("SEGURA_RENEW_INTERVAL", "off");
        assert_eq!(given(&scene), expected(&[("app_k", "two"), ("other_k", "one")]));
        assert_eq!(scene.entries(), entries);
        let there = fs::read_dir(scene.path("there")).into_iter().flatten();
        assert_eq!(there.count(), 0, "it is empty");
    });
}

#[test]
fn output_none_excludes_other_outputs_and_needs_exec_with_an_environment() {
    let cases = [("none,files", "true", "SEGURA_OUTPUT"), ("none", "false", "SEGURA_EXEC_ENV")];
    for (output, entries, variable) in cases {
        let mut scene = scene_with(&json!({"k": "v"}));
        scene.set("SEGURA_OUTPUT", output).set("SEGURA_EXEC_ENV", entries);
        let run = refused(&scene);
        run.exits(78);
        assert!(run.stderr.contains(&format!("\n  {variable}: ")), "{}", run.stderr);
        assert_eq!(scene.request_lines(), [""; 0]);
    }
    for mode in ["init", "sidecar"] {
        let mut scene = scene_with(&json!({"k": "v"}));
        scene.set("SEGURA_OUTPUT", "none");
        let run = Sidecar::spawn(scene.agent(&[mode])).wait();
        assert!(run.exits(78).stderr.contains("\n  SEGURA_OUTPUT: "), "{}", run.stderr);
    }
}
