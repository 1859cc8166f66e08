//! The output directory as pods have it: missing, foreign, full, shared, of another owner.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::MsFlags;

use crate::dev_vault::requests::{DEPROVISION, PROVISION};
use crate::harness::lines;
use crate::{
    dev_vault::{Effect, Fault, Options},
    harness::{
        Run, SEED, Scene,
        host::{
            Memory, NOBODY, User, can_switch_user, is_root, mode, owner, set_mode, with_own_mounts,
        },
        memory_dir, side_by_side, until,
    },
};

const FULL: &str = "No space left on device";

/// Asserts that the directory was refused before anything was asked of the vault.
#[track_caller]
fn assert_refused(scene: &Scene, run: &Run, reason: &str) {
    run.exits(73);
    assert!(run.error().contains(reason), "{}", run.stderr);
    assert_eq!(scene.vault.requests().len(), 0, "no request is sent: {}", run.stderr);
    assert!(run.hint().is_some(), "{}", run.stderr);
}

#[test]
fn a_missing_directory_is_reported_with_the_remedy() {
    let mut scene = Scene::new();
    let missing = scene.path("not/there");
    scene.set("SEGURA_OUTPUT_DIR", &missing.display().to_string());
    let run = scene.init();
    assert_refused(&scene, &run, "No such file or directory");
    assert!(run.error().contains(&missing.display().to_string()), "{}", run.error());
    assert!(run.hint().is_some_and(|hint| hint.contains("emptyDir")), "{}", run.stderr);
    assert!(scene.entries().is_empty(), "it is not made either");
}

#[test]
fn a_file_in_place_of_the_directory_is_reported() {
    let mut scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "mine").unwrap();
    scene.set("SEGURA_OUTPUT_DIR", &file.display().to_string());
    let run = scene.init();
    run.exits(73);
    assert!(run.error().contains("Not a directory"), "{}", run.error());
    assert_eq!(scene.vault.requests().len(), 0);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_disk_is_refused_unless_it_is_allowed() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if [0x0102_1994, 0x8584_58f6].contains(&rustix::fs::statfs(disk.path()).unwrap().f_type) {
        return crate::harness::host::skip(
            "a_disk_is_refused_unless_it_is_allowed",
            "the target directory is no disk",
        );
    }
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT_DIR", &disk.path().display().to_string());
    let run = scene.init();
    assert_refused(&scene, &run, "tmpfs");
    assert!(run.hint().is_some_and(|hint| hint.contains("SEGURA_ALLOW_DISK=true")));
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    scene.set("SEGURA_ALLOW_DISK", "true").init().exits(0);
    assert_eq!(fs::read(disk.path().join("secret-postman/ip")).unwrap(), b"10.66.32.13");
}

#[test]
fn a_read_only_volume_is_reported_with_the_remedy() {
    with_own_mounts("a_read_only_volume_is_reported_with_the_remedy", || {
        let scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::MS_RDONLY);
        let run = scene.init();
        assert_refused(&scene, &run, "Read-only file system");
        assert!(run.hint().is_some_and(|hint| hint.contains("readOnly")), "{}", run.stderr);
    });
}

#[test]
fn a_full_volume_is_reported_before_anything_is_provisioned() {
    with_own_mounts("a_full_volume_is_reported_before_anything_is_provisioned", || {
        let scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 16, MsFlags::empty());
        fs::write(scene.path("ballast"), vec![0; 16 * 4096]).unwrap();
        let run = scene.init();
        assert_refused(&scene, &run, FULL);
        assert!(run.hint().is_some_and(|hint| hint.contains("sizeLimit")), "{}", run.stderr);
    });
}

#[test]
fn a_set_that_never_fits_is_provisioned_once_and_kept() {
    with_own_mounts("a_set_that_never_fits_is_provisioned_once_and_kept", || {
        let mut scene = Scene::new();
        // What proves the directory fits, the set of a dozen files does not.
        let _memory = Memory::mount(scene.dir.path(), 5, MsFlags::empty());
        scene.set("SEGURA_STARTUP_TIMEOUT", "1s");
        let run = scene.init();
        assert!(run.exits(73).error().contains(FULL), "{}", run.error());
        assert!(run.hint().is_some_and(|hint| hint.contains("sizeLimit")), "{}", run.stderr);
        assert_eq!(scene.count(PROVISION), 1, "a publish is retried from memory");
        assert_eq!((scene.count(DEPROVISION), scene.vault.provisioned(SEED).len()), (0, 1));
        assert_eq!(scene.entries(), ["..segura"], "no half of a set and no link stays");
        assert_eq!(mode(scene.path("..segura/kept.json")), 0o600);
    });
}

#[test]
fn a_set_is_published_from_memory_once_there_is_room() {
    with_own_mounts("a_set_is_published_from_memory_once_there_is_room", || {
        let mut scene = Scene::new();
        let _memory = Memory::mount(scene.dir.path(), 64, MsFlags::empty());
        let ballast = scene.path("ballast");
        fs::write(&ballast, vec![0; 59 * 4096]).unwrap();
        scene.set("SEGURA_STARTUP_TIMEOUT", "1m");
        let log = tempfile::NamedTempFile::new().unwrap();
        let stderr = Stdio::from(log.reopen().unwrap());
        let agent = scene.agent(&["init"]).stderr(stderr).spawn().unwrap();
        let reported = || fs::read_to_string(log.path()).unwrap();
        until("the agent logs that it tries again", || reported().contains(lines::RETRIES));
        assert!(reported().contains(FULL) && reported().contains("sizeLimit"), "{}", reported());
        assert_eq!(scene.entries(), ["..segura", "ballast"]);
        fs::remove_file(&ballast).unwrap();
        Run::wait(agent).exits(0);
        assert_eq!((scene.count(PROVISION), scene.count(DEPROVISION)), (1, 0));
        let provisioned = scene.vault.provisioned(SEED);
        assert_eq!(provisioned.len(), 1);
        assert_eq!(scene.read("secret-postman/password"), provisioned[0].password);
        assert_eq!(scene.generations().len(), 1);
    });
}

#[test]
fn an_unwritable_directory_is_reported_before_anything_is_provisioned() {
    if !can_switch_user("an_unwritable_directory_is_reported_before_anything_is_provisioned") {
        return;
    }
    // Not even readable, readable, and writable for a group that the agent is not in.
    for (gid, mode) in [(0, 0o700), (0, 0o755), (2000, 0o2775)] {
        let scene = Scene::new();
        chown(scene.dir.path(), Some(0), Some(gid)).unwrap();
        set_mode(scene.dir.path(), mode);
        let run = scene.run_as(NOBODY, &["init"]);
        assert_refused(&scene, &run, "Permission denied");
        assert!(run.hint().is_some_and(|hint| hint.contains("fsGroup")), "{}", run.stderr);
        assert!(scene.entries().is_empty());
    }
}

#[test]
fn owners_that_the_agent_may_not_set_are_reported_before_anything_is_provisioned() {
    if !can_switch_user(
        "owners_that_the_agent_may_not_set_are_reported_before_anything_is_provisioned",
    ) {
        return;
    }
    for (variable, id) in [("SEGURA_FILE_UID", "1001"), ("SEGURA_FILE_GID", "2000")] {
        let mut scene = Scene::new();
        chown(scene.dir.path(), Some(1000), Some(1000)).unwrap();
        scene.set(variable, id);
        let run = scene.run_as(NOBODY, &["init"]);
        assert_refused(&scene, &run, "Operation not permitted");
        assert!(run.hint().is_some_and(|hint| hint.contains(variable)), "{}", run.stderr);
    }
}

#[test]
fn modes_that_lock_out_the_agent_are_reported_before_anything_is_provisioned() {
    if !can_switch_user("modes_that_lock_out_the_agent_are_reported_before_anything_is_provisioned")
    {
        return;
    }
    for (variable, mode) in [
        ("SEGURA_FILE_MODE", "0040"),
        ("SEGURA_FILE_MODE", "0000"),
        ("SEGURA_DIR_MODE", "0070"),
        ("SEGURA_DIR_MODE", "0660"),
    ] {
        let mut scene = Scene::new();
        chown(scene.dir.path(), Some(1000), Some(1000)).unwrap();
        scene.set(variable, mode);
        let run = scene.run_as(NOBODY, &["init"]);
        assert_refused(&scene, &run, "Permission denied");
    }
}

#[test]
fn owners_that_the_agent_may_set_are_set() {
    if !can_switch_user("owners_that_the_agent_may_set_are_set") {
        return;
    }
    let mut scene = Scene::new();
    scene.set("SEGURA_FILE_UID", "1001").set("SEGURA_FILE_GID", "2001");
    let run = scene.init();
    run.exits(0);
    assert!(run.stderr.contains("uid 1001 and gid 2001"), "{}", run.stderr);
    for path in ["secret-postman", "secret-postman/1/username", "..data"] {
        assert_eq!(owner(scene.path(path)), Some((1001, 2001)), "{path}");
    }
    // The agent's own files stay its own, and the owner of the set may read them.
    for path in [".segura.json", "..segura"] {
        assert_eq!(owner(scene.path(path)), Some((0, 2001)), "{path}");
    }
    let app = User { uid: 1001, gid: 1001, groups: &[] };
    assert!(app.reads(&scene.path(".segura.json")).is_some());
    // A group of its own needs no capability.
    let mut scene = Scene::new();
    chown(scene.dir.path(), Some(1000), Some(1000)).unwrap();
    scene.set("SEGURA_FILE_GID", "2000");
    let member = User { groups: &[2000], ..NOBODY };
    scene.run_as(member, &["init"]).exits(0);
    assert_eq!(owner(scene.path("secret-postman/ip")), Some((1000, 2000)));
}

#[test]
fn modes_are_those_of_the_settings_under_every_umask() {
    let octal = |mode: &str| u32::from_str_radix(mode, 8).unwrap();
    for umask in ["000", "022", "077"] {
        for (file, folder) in [("", ""), ("0644", "0755"), ("400", "700")] {
            let mut scene = Scene::new();
            scene.set("SEGURA_OUTPUT", "files,env,json");
            scene.set("SEGURA_FILE_MODE", file).set("SEGURA_DIR_MODE", folder);
            with_umask(&scene, umask).exits(0);
            let file = if file.is_empty() { 0o440 } else { octal(file) };
            let folder = if folder.is_empty() { 0o750 } else { octal(folder) };
            for path in ["secret-postman", "secret-postman/1", "..data", "..segura"] {
                assert_eq!(mode(scene.path(path)), folder, "{path}, {umask}");
            }
            for path in ["secret-postman/ip", "secrets.env", "secrets.json", ".segura.json"] {
                assert_eq!(mode(scene.path(path)), file, "{path}, {umask}");
            }
            assert_eq!(mode(scene.dir.path()), 0o755, "the directory itself is never changed");
        }
    }
}

fn with_umask(scene: &Scene, umask: &str) -> Run {
    let agent = scene.agent(&["init"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$0\" init")]).arg(agent.get_program());
    shell.env_clear();
    shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Run::of(shell.output().expect("a shell"))
}

#[test]
fn an_app_of_another_uid_reads_through_the_group_of_the_volume() {
    if !can_switch_user("an_app_of_another_uid_reads_through_the_group_of_the_volume") {
        return;
    }
    // As the kubelet prepares a volume for fsGroup: root's, set-gid, writable for the group.
    let scene = Scene::new();
    chown(scene.dir.path(), Some(0), Some(2000)).unwrap();
    set_mode(scene.dir.path(), 0o2775);
    let agent = User { groups: &[2000], ..NOBODY };
    let run = scene.run_as(agent, &["init"]);
    run.exits(0);
    assert!(run.stderr.contains("uid 1000 and gid 2000"), "{}", run.stderr);
    for (path, wanted) in [
        ("secret-postman", 0o2750),
        ("secret-postman/1", 0o2750),
        ("..data", 0o2750),
        ("..segura", 0o2750),
        ("secret-postman/ip", 0o440),
        ("secret-postman/1/username", 0o440),
        (".segura.json", 0o440),
    ] {
        let path = scene.path(path);
        assert_eq!((owner(&path), mode(&path)), (Some((1000, 2000)), wanted), "{}", path.display());
    }
    let ip = scene.path("secret-postman/ip");
    let app = User { uid: 1001, gid: 1001, groups: &[2000] };
    let stranger = User { uid: 1002, gid: 1002, groups: &[] };
    assert_eq!(app.reads(&ip).as_deref(), Some(b"10.66.32.13".as_slice()));
    assert_eq!(stranger.reads(&ip), None);
    assert_eq!(stranger.reads(&scene.path(".segura.json")), None);
    // And once more: what stands is as it should be.
    scene.run_as(agent, &["init"]).exits(0);
    assert_eq!(scene.generations().len(), 1);
    assert_eq!(scene.state()["generation"], 1);
}

#[test]
fn a_second_agent_reports_the_first_and_does_not_disturb_it() {
    let mut scene = Scene::new();
    scene.set("SEGURA_STARTUP_TIMEOUT", "1m").set("SEGURA_TIMEOUT", "2s");
    scene.vault.fault(Fault::new("token", Effect::Hang));
    let first = scene.spawn_init();
    until("the first asks", || !scene.vault.requests().is_empty());
    let second = scene.init();
    second.exits(73);
    assert!(second.error().contains(&first.id().to_string()), "{}", second.error());
    assert!(second.hint().is_some(), "{}", second.stderr);
    scene.vault.clear_faults();
    Run::wait(first).exits(0);
    assert_eq!((scene.count(PROVISION), scene.generations().len()), (1, 1));
    assert_eq!(scene.read("secret-postman/ip"), "10.66.32.13");
    // The next agent finds the directory free.
    scene.init().exits(0);
}

type Squat = fn(&Path);

/// Asserts that the agent refuses, names and leaves a foreign file under a name.
fn assert_in_the_way((name, squat): (&str, Squat)) {
    let mut scene = Scene::new();
    scene.set("SEGURA_OUTPUT", "files,env,json").set("SEGURA_STARTUP_TIMEOUT", "1s");
    let look = || {
        let found = fs::symlink_metadata(scene.path(name)).expect("it is still there");
        (found.ino(), found.mtime(), found.mtime_nsec())
    };
    squat(&scene.path(name));
    let before = look();
    let run = scene.init();
    run.exits(73);
    assert!(run.error().contains(name), "{name}: {}", run.error());
    assert_eq!(scene.count(PROVISION), 0, "{name}");
    assert_eq!(look(), before, "{name}");
}

#[test]
fn foreign_files_under_published_names_are_reported_before_anything_is_provisioned() {
    let cases: [(&str, Squat); 5] = [
        (SEED, |path| fs::write(path, "mine").unwrap()),
        (SEED, |path| fs::create_dir(path).unwrap()),
        ("secrets.env", |path| symlink("/etc/hosts", path).unwrap()),
        ("secrets.json", |path| fs::write(path, "mine").unwrap()),
        ("..segura", |path| symlink("/tmp", path).unwrap()),
    ];
    side_by_side(cases, assert_in_the_way);
}

#[test]
fn files_under_the_agents_own_names_are_moved_aside_and_lose_nothing() {
    let cases: [(&str, Squat); 6] = [
        ("..data", |path| fs::create_dir(path).unwrap()),
        ("..data", |path| fs::write(path, "mine").unwrap()),
        ("..data_tmp", |path| fs::create_dir(path).unwrap()),
        (".segura.json", |path| fs::write(path, "mine").unwrap()),
        (".segura.json", |path| fs::create_dir(path).unwrap()),
        (".segura.json", |path| symlink("/etc/hosts", path).unwrap()),
    ];
    side_by_side(cases, |(name, squat)| {
        let scene = Scene::new();
        squat(&scene.path(name));
        let before = fs::symlink_metadata(scene.path(name)).unwrap().ino();
        let run = scene.init();
        run.exits(0);
        assert!(scene.check("started").0, "{name}: {}", run.stderr);
        let inode = |entry: &String| fs::symlink_metadata(scene.path(entry)).unwrap().ino();
        let now = scene.entries().into_iter().find(|entry| inode(entry) == before);
        let now = now.unwrap_or_else(|| panic!("{name} is gone: {}", run.stderr));
        // A name that is random now is in no one's way.
        assert_eq!(now == name, name == "..data_tmp", "{name} is {now}");
        assert_eq!(run.stderr.contains(&now), name != "..data_tmp", "{name}: {}", run.stderr);
    });
}

#[test]
fn a_path_to_the_directory_may_lead_through_links() {
    let mut scene = Scene::new();
    let elsewhere = memory_dir();
    let link = elsewhere.path().join("run");
    symlink(scene.dir.path(), &link).unwrap();
    scene.set("SEGURA_OUTPUT_DIR", &link.display().to_string());
    scene.init().exits(0);
    assert_eq!(scene.read("secret-postman/ip"), "10.66.32.13");
}

#[test]
fn the_historic_layout_has_its_own_modes() {
    let vault_env = ["SEGURA_URL", "SEGURA_CLIENT_ID", "SEGURA_CLIENT_SECRET"];
    let mut scene = Scene::with(Options { tls: false, ..Options::default() });
    let (url, id) = (scene.vault.url(), scene.vault.client_id().to_owned());
    let secret = scene.vault.client_secret().to_owned();
    for name in vault_env {
        scene.unset(name);
    }
    scene.unset("SEGURA_OUTPUT_DIR");
    let folder = scene.dir.path().display().to_string();
    scene.set("SENHASEGURA_URL", &url).set("SENHASEGURA_CLIENT_ID", &format!(" {id}\n"));
    scene.set("SENHASEGURA_CLIENT_SECRET", &format!("{secret}\n"));
    scene.set("SENHASEGURA_SECRETS_FOLDER", &folder);
    scene.init().exits(0);
    assert_eq!(scene.read("senhasegura/secret-postman/ip"), "10.66.32.13");
    assert_eq!(mode(scene.path("senhasegura")), 0o755);
    assert_eq!(mode(scene.path("senhasegura/secret-postman")), 0o755);
    assert_eq!(mode(scene.path("senhasegura/secret-postman/ip")), 0o444);
    if is_root() {
        assert_eq!(owner(scene.path("senhasegura")), Some((0, 0)));
    }
}
