//! The command gets its entries, and ends the wrapper as it ends.

use crate::harness::Scene;

#[test]
fn a_command_is_given_its_entries_and_its_end_is_ours() {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "files,env");
    let run = scene.exec_to_end(&["/bin/sh", "-c", "echo \"$username\"; exit 42"]);
    assert_eq!(run.code, Some(42), "{}", run.stderr);
    assert_eq!(run.stdout.trim_end(), scene.read("secret-postman/username"));
}
