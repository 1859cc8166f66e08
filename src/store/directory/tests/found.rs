//! The content that a start finds: of another agent, of a crash, of a hostile process.

use super::*;
use crate::model::SecretName;
use crate::store::Posted;
use crate::store::state::Origin;

#[test]
fn two_publishes_at_one_time_lose_no_set() {
    let dir = memory();
    let mut store = open(&dir);
    let now = clock::wall();
    publish_at(&mut store, FIRST, now).unwrap();
    let second = publish_at(&mut store, SECOND, now);
    let (user, password) = (read(&dir, "db/user"), read(&dir, "db/password"));
    assert_eq!((user.as_str(), password.as_str()), ("ada", "new"), "{second:?}");
}

#[test]
fn the_remains_of_a_crash_are_removed_at_open() {
    let (dir, store) = published(FIRST);
    drop(store);
    let at = |name: &str| dir.path().join(name);
    files::create_dir_all(at("..2024_01_02_03_04_05.678901234/x/y")).unwrap();
    files::write(at("..2024_01_02_03_04_05.678901234/x/y/k"), "half").unwrap();
    chmod(&at("..2024_01_02_03_04_05.678901234"), 0o2700);
    symlink("..2024_01_02_03_04_05.678901234", at("..data_tmp-0")).unwrap();
    symlink("..data/new", at("new")).unwrap();
    files::write(at("..segura/probe"), "").unwrap();
    files::write(at("..segura/state.json.tmp"), "half").unwrap();
    files::write(at("..segura/pending.json.tmp"), "half").unwrap();
    // These belong to another process.
    symlink("nowhere", at("theirs")).unwrap();
    files::create_dir(at("..2024-other")).unwrap();
    let store = open(&dir);
    let generation = data(&dir).into_os_string().into_string().unwrap();
    let expected = [DATA, "..segura", STATE_LINK, "db", "theirs", "..2024-other", &generation];
    assert_eq!(names(dir.path()), BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(
        names(&at("..segura")),
        BTreeSet::from(["holder", "lock", "seal", STATE].map(str::to_owned))
    );
    assert_eq!(store.current_set().unwrap().state.generation, Generation(1));
}

#[test]
fn a_sweep_takes_what_is_the_agents_whatever_its_name_and_leaves_the_rest() {
    let (dir, store) = published(FIRST);
    let at = |name: &str| dir.path().join(name);
    let make = |name: &str, mode| {
        files::create_dir(at(name)).unwrap();
        files::write(at(name).join("file"), "x").unwrap();
        chmod(&at(name), mode);
    };
    // Complete, under any name; and one that was being built.
    for name in ["..2024_01_01_00_00_00.000000001", "..kept", "moved"] {
        make(name, 0o750);
        files::write(at(name).join("..generation.json"), "{}").unwrap();
    }
    make("..2024_01_01_00_00_00.000000002", 0o700);
    // The names are a generation's, or the modes those of a build; the rest is not.
    make("..2000_01_01", 0o755);
    make("theirs", 0o700);
    make("..2000_01_02", 0o755);
    symlink("/etc/hosts", at("..2000_01_02/..generation.json")).unwrap();
    files::write(at("..2000_01_03"), "theirs").unwrap();
    symlink("theirs", at("..2000_01_04")).unwrap();
    let mut left = vec!["..2000_01_01", "theirs", "..2000_01_02", "..2000_01_03", "..2000_01_04"];
    if rustix::process::geteuid().is_root() {
        make("..2000_01_05", 0o700);
        files::write(at("..2000_01_05").join("..generation.json"), "{}").unwrap();
        std::os::unix::fs::chown(at("..2000_01_05"), Some(1000), Some(1000)).unwrap();
        make("..2000_01_06", 0o755);
        let note = at("..2000_01_06").join("..generation.json");
        files::write(&note, "{}").unwrap();
        std::os::unix::fs::chown(note, Some(1000), Some(1000)).unwrap();
        left.extend(["..2000_01_05", "..2000_01_06"]);
    }
    let generation = data(&dir).into_os_string().into_string().unwrap();
    let seen = |name: &&str| {
        let content = if at(name).is_dir() { picture(&at(name)) } else { BTreeSet::new() };
        (files::symlink_metadata(at(name)).unwrap().ino(), content)
    };
    let before = left.iter().map(seen).collect::<Vec<_>>();
    for again in 0..2 {
        store.sweep();
        let expected = [DATA, "..segura", STATE_LINK, "db", &generation].into_iter();
        let expected: BTreeSet<String> =
            expected.chain(left.iter().copied()).map(str::to_owned).collect();
        assert_eq!(names(dir.path()), expected, "{again}");
    }
    assert_eq!(before, left.iter().map(seen).collect::<Vec<_>>());
    drop(store);
    open(&dir);
    assert_eq!(names(dir.path()).len(), 5 + left.len());
}

#[test]
fn a_crowd_of_names_is_not_looked_through_and_the_agents_own_are_found() {
    let (dir, mut store) = published(&[("a", &[&[("k", "v")]]), ("b", &[&[("k", "v")]])]);
    let crowd = |count| {
        for name in 0..count {
            files::write(dir.path().join(format!("{name:0>200}")), "").unwrap();
        }
    };
    crowd(10_050);
    assert!(exists(&dir, "b"));
    publish(&mut store, &[("a", &[&[("k", "w")]])]).unwrap();
    assert_eq!(read(&dir, "a/k"), "w");
    assert!(!exists(&dir, "b"), "the link of a removed file is known from the set before");
    assert_eq!(generations(&dir).len(), 2);
    store.sweep();
    assert_eq!(generations(&dir).len(), 1);
    assert_eq!(names(dir.path()).len(), 10_050 + 5, "nothing of the crowd is touched");
}

#[test]
fn a_data_link_that_leads_outside_is_not_followed() {
    let outside = memory();
    let away = outside.path().join("..2024_01_02_03_04_05.678901234");
    let (there, whole) = published(FIRST);
    drop(whole);
    files::rename(there.path().join(data(&there)), &away).unwrap();
    let relative = format!("../{}", away.strip_prefix("/dev/shm").unwrap().display());
    let before = picture(outside.path());
    for target in [away.to_str().unwrap(), &relative, "..2024_01_02_03_04_05.678901234"] {
        let dir = memory();
        symlink(target, dir.path().join(DATA)).unwrap();
        // A name that exists only outside of the directory counts as dangling.
        symlink("..data/db", dir.path().join("db")).unwrap();
        if !target.contains('/') {
            symlink(&away, dir.path().join(target)).unwrap();
        }
        let mut store = open(&dir);
        assert!(store.current_set().is_none(), "{target}");
        assert!(!exists(&dir, "db"), "{target}");
        assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Published(Generation(1)));
        store.sweep();
        assert_eq!(read(&dir, "db/password"), "old", "{target}");
        assert!(data(&dir).to_str().unwrap().starts_with("..2"));
        assert_eq!(picture(outside.path()), before, "{target}");
    }
}

#[test]
fn links_inside_a_generation_are_not_followed() {
    let outside = memory();
    let (dir, mut store) = published(FIRST);
    let generation = dir.path().join(data(&dir));
    // The link's target is equal in every byte, mode and owner.
    files::rename(generation.join("db"), outside.path().join("db")).unwrap();
    symlink(outside.path().join("db"), generation.join("db")).unwrap();
    let before = picture(outside.path());
    assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Published(Generation(2)));
    store.sweep();
    assert_eq!(generations(&dir).len(), 1);
    assert_eq!(picture(outside.path()), before);
    assert!(!files::symlink_metadata(dir.path().join("..data/db")).unwrap().is_symlink());
}

#[test]
fn a_copy_that_is_a_link_is_not_read() {
    for file in ["..bundle.json", "..generation.json"] {
        let outside = memory();
        let (dir, store) = published(FIRST);
        let generation = dir.path().join(data(&dir));
        files::rename(generation.join(file), outside.path().join("copy")).unwrap();
        symlink(outside.path().join("copy"), generation.join(file)).unwrap();
        assert!(store.current_set().is_none(), "{file}");
    }
}

#[test]
fn the_state_that_belongs_to_the_generation_counts() {
    let (dir, store) = published(FIRST);
    // After a pass: newer than the state in the generation.
    store.save(&State { generation: Generation(1), failures: 3, ..remembered(FIRST) }).unwrap();
    assert_eq!(store.current_set().unwrap().state.failures, 3);
    // After a crash between the rename and the state file: of the generation before, or missing.
    store.save(&State { generation: Generation(0), failures: 9, ..remembered(FIRST) }).unwrap();
    assert_eq!(store.current_set().unwrap().state.failures, 0);
    chmod(&dir.path().join("..segura/state.json"), 0o640);
    files::write(dir.path().join("..segura/state.json"), "{").unwrap();
    assert_eq!(store.current_set().unwrap().state.failures, 0);
    files::remove_file(dir.path().join("..segura/state.json")).unwrap();
    let current = store.current_set().unwrap();
    assert_eq!(current.state.generation, Generation(1));
    let entry = current.entries.values().next().unwrap().first().unwrap();
    let items: Vec<_> = entry.iter().map(|i| (i.key.as_str(), i.value.expose().as_str())).collect();
    assert_eq!(items, [("user", "ada"), ("password", "old")]);
}

#[test]
fn numbers_continue_those_of_the_agent_before() {
    let (dir, mut store) = published(FIRST);
    publish(&mut store, SECOND).unwrap();
    drop(store);
    let mut store = open(&dir);
    assert_eq!(publish(&mut store, SECOND).unwrap(), Outcome::Unchanged(Generation(2)));
    assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Published(Generation(3)));
}

#[test]
fn an_incomplete_set_is_not_current() {
    type Spoil = fn(&Path);
    let rewrite = |path: PathBuf, text: &str| {
        chmod(&path, 0o640);
        files::write(path, text).unwrap();
    };
    let cases: [(&str, Spoil); 7] = [
        ("no values", |data| files::remove_file(data.join("..bundle.json")).unwrap()),
        ("half of the values", |data| {
            let text = files::read_to_string(data.join("..bundle.json")).unwrap();
            chmod(&data.join("..bundle.json"), 0o640);
            files::write(data.join("..bundle.json"), &text[..text.len() / 2]).unwrap();
        }),
        ("no state", |data| files::remove_file(data.join("..generation.json")).unwrap()),
        ("half of the state", |data| {
            chmod(&data.join("..generation.json"), 0o640);
            files::write(data.join("..generation.json"), "{\"generation\":1").unwrap();
        }),
        ("a folder for a file", |data| {
            files::remove_file(data.join("..bundle.json")).unwrap();
            files::create_dir(data.join("..bundle.json")).unwrap();
        }),
        ("a pipe for a file", |data| {
            files::remove_file(data.join("..bundle.json")).unwrap();
            let mode = Mode::from_raw_mode(0o640);
            fs::mknodat(fs::CWD, data.join("..bundle.json"), fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("a generation that is gone", |data| files::remove_dir_all(data).unwrap()),
    ];
    for (what, spoil) in cases {
        let (dir, store) = published(FIRST);
        spoil(&dir.path().join(data(&dir)));
        assert!(store.current_set().is_none(), "{what}");
        drop(store);
        assert!(open(&dir).current_set().is_none(), "{what}, after a start");
    }
    // Values of a secret without a state, and a state of a secret without values.
    for text in [
        r#"{"db":[{"user":"ada","password":"old"}],"foreign":[{"k":"v"}]}"#,
        r#"{"foreign":[{"k":"v"}]}"#,
        r#"{}"#,
    ] {
        let (dir, store) = published(FIRST);
        rewrite(dir.path().join(data(&dir)).join("..bundle.json"), text);
        assert!(store.current_set().is_none(), "{text}");
    }
}

#[test]
fn a_second_agent_reports_the_holder_of_the_directory() {
    let (dir, store) = published(FIRST);
    let before = picture(dir.path());
    let error = Directory::open(&output(dir.path()), "the second").unwrap_err();
    let message = chain(&error);
    assert!(message.ends_with("another segura-agent holds it: a test"), "{message}");
    assert!(error.hint().is_some());
    assert_eq!(picture(dir.path()), before);
    drop(store);
    let next = open_as(&output(dir.path()), "the second");
    assert_eq!(read(&dir, "..segura/holder"), "the second");
    drop(next);
}

#[test]
fn pending_identities_are_kept_for_their_own_origin() {
    let dir = memory();
    let store = || open(&dir);
    let identities = vec![SecretName::new("db").unwrap(), SecretName::new("a/b").unwrap()];
    let posted = Posted {
        identity: identities[0].clone(),
        version: Some("1".to_owned()),
        unknown: 2,
        done: 1,
        at: 7,
    };
    let pending = Pending { origin: origin(), identities, posts: vec![posted] };
    store().record_pending(&pending).unwrap();
    let store = store();
    assert_eq!(store.pending(&origin()), Some(pending.clone()));
    let wanted = Origin { identities: vec!["db".to_owned(), "mq".to_owned()], ..origin() };
    assert_eq!(store.pending(&wanted), Some(pending), "each is provisioned by itself");
    let other = Origin { pod_uid: Some("another pod".to_owned()), ..origin() };
    assert_eq!(store.pending(&other), None);
    store.clear_pending();
    assert_eq!(store.pending(&origin()), None);
    assert_eq!(
        names(&dir.path().join("..segura")),
        BTreeSet::from(["holder", "lock"].map(str::to_owned))
    );
}

#[test]
fn kept_secrets_are_private_and_go_when_they_are_dropped() {
    let dir = memory();
    let store = open(&dir);
    assert!(store.kept().is_none());
    let bundle = bundle(FIRST);
    let note = KeptNote { origin: origin(), secrets: remembered(FIRST).secrets, given_back: false };
    assert_eq!(store.keep(&note, &bundle).unwrap(), Keeping::UntilPublished);
    let file = dir.path().join("..segura/kept.json");
    assert_eq!(files::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(store);
    let store = open(&dir);
    let kept = store.kept().unwrap();
    assert_eq!(kept.note, note);
    assert_eq!(bundle::write(&kept.into_bundle()).expose(), bundle::write(&bundle).expose());
    files::write(&file, "{").unwrap();
    assert!(store.kept().is_none());
    store.drop_kept();
    assert!(!file.exists());
}

#[test]
fn a_disk_is_refused_unless_it_is_allowed() {
    // The build directory is on a disk, unless this machine has none.
    let built = std::env::current_exe().unwrap();
    let here = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    let kind = fs::statfs(here.path()).unwrap().f_type;
    let on_disk = !IN_MEMORY.iter().any(|memory| i128::from(kind) == i128::from(*memory));
    let with = |disk| Output { disk, ..output(here.path()) };
    match Directory::open(&with(Disk::Refuse), "a test") {
        Err(error) => {
            assert!(on_disk);
            assert!(error.hint().unwrap().contains("SEGURA_ALLOW_DISK=true"), "{error}");
            assert!(names(here.path()).is_empty(), "nothing was made");
        }
        Ok(_) => assert!(!on_disk),
    }
    for disk in [Disk::Warn, Disk::Allow] {
        assert_eq!(open_as(&with(disk), "a test").path(), here.path());
    }
}
