//! The option file, read by MariaDB's own client library.

use serde_json::json;

use super::pod::{pod, program, template};
use crate::harness::Run;
use crate::harness::host::bounded;

#[test]
fn every_password_is_read_back_from_the_option_file() {
    let Some(reader) =
        program("every_password_is_read_back_from_the_option_file", "my_print_defaults")
    else {
        return;
    };
    let scene = pod("mysql/agent.yaml", &[("shop-db", json!({}))]);
    template(&scene, "mysql/my.cnf.j2");
    for password in [
        "plain",
        " blank ",
        r#"a"b"#,
        "it's",
        r"back\slash\",
        r"\n",
        "tab\tline\n",
        "a#b;c",
        "#",
        "é<&>",
        r#""quoted""#,
        "'single'",
        "=x",
        "[client]",
        "!include x",
        r#"it's # not "x" "#,
    ] {
        let data = json!({ "host": "db", "port": 3306, "username": "ad#a", "password": password });
        scene.vault.set_data("shop-db", data);
        // A published set would be adopted.
        for name in scene.entries() {
            let path = scene.path(&name);
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path)).unwrap();
        }
        scene.init().exits(0);
        let file = format!("--defaults-file={}", scene.path("my.cnf").display());
        let run = Run::of(bounded(&[&reader, &file, "client"]).output().unwrap());
        let expected = format!("--host=db\n--port=3306\n--user=ad#a\n--password={password}\n");
        assert_eq!(run.stdout, expected, "{}", run.stderr);
    }
}
