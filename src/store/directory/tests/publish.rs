//! The effects of a publish on the directory and on its readers.

use super::*;

#[test]
fn a_set_has_the_shape_of_a_kubernetes_secret_volume() {
    let (dir, store) = published(&[("db", &[&[("user", "ada")]]), ("a/b", &[&[("k", "v")]])]);
    let generation = data(&dir).into_os_string().into_string().unwrap();
    let expected = [DATA, "..segura", STATE_LINK, "a", "db", &generation].map(str::to_owned);
    assert_eq!(names(dir.path()), BTreeSet::from(expected));
    assert!(generation.starts_with("..2"));
    assert_eq!(files::read_link(dir.path().join("db")).unwrap(), Path::new("..data/db"));
    assert_eq!(files::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
    assert_eq!(read(&dir, "db/user"), "ada");
    assert_eq!(read(&dir, "a/b/k"), "v");
    for folder in [DATA, "..segura", "db", "a", "a/b"] {
        assert_eq!(mode(&dir, folder), 0o750, "{folder}");
    }
    for file in ["db/user", "a/b/k", STATE_LINK, "..data/..generation.json", "..data/..bundle.json"]
    {
        assert_eq!(mode(&dir, file), 0o440, "{file}");
    }
    drop(store);
    assert_eq!(open(&dir).current_set().unwrap().state.generation, Generation(1));
}

#[test]
fn an_equal_set_changes_nothing_and_wakes_no_watcher() {
    let (dir, mut store) = published(FIRST);
    let before = picture(&dir.path().join(data(&dir)));
    let watcher = Watcher::of(dir.path());
    let deeper = Watcher::of(&dir.path().join(data(&dir)));
    assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Unchanged(Generation(1)));
    assert_eq!((watcher.woken(), deeper.woken()), (vec![], vec![]));
    assert_eq!(picture(&dir.path().join(data(&dir))), before);
    assert_eq!(generations(&dir).len(), 1);
    // The same watcher does wake for another set.
    assert_eq!(publish(&mut store, SECOND).unwrap(), Outcome::Published(Generation(2)));
    let moved = |event: &(Option<String>, ReadFlags)| {
        event.0.as_deref() == Some(DATA) && event.1.contains(ReadFlags::MOVED_TO)
    };
    assert_eq!(watcher.woken().iter().filter(|event| moved(event)).count(), 1);
}

#[test]
fn rewriting_the_state_wakes_no_watcher_of_the_directory() {
    let (dir, store) = published(FIRST);
    let watcher = Watcher::of(dir.path());
    store.save(&State { generation: Generation(1), failures: 7, ..remembered(FIRST) }).unwrap();
    let pending = Pending { origin: origin(), identities: Vec::new(), posts: Vec::new() };
    store.record_pending(&pending).unwrap();
    store.clear_pending();
    let secrets = remembered(FIRST).secrets;
    let note = KeptNote { origin: origin(), secrets, given_back: false };
    store.keep(&note, &bundle(FIRST)).unwrap();
    store.drop_kept();
    assert_eq!(watcher.woken(), []);
    assert!(read(&dir, STATE_LINK).contains("\"failures\":7"));
}

#[test]
fn a_proof_wakes_no_watcher_and_leaves_nothing() {
    let (dir, store) = published(FIRST);
    let before = picture(dir.path());
    let watcher = Watcher::of(dir.path());
    store.prove(&["db", "new"]).unwrap();
    assert_eq!(watcher.woken(), []);
    assert_eq!(picture(dir.path()), before);
}

#[test]
fn any_difference_from_the_set_makes_a_new_generation() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 9] = [
        ("a file's mode", |data| chmod(&data.join("db/user"), 0o444)),
        ("a folder's mode", |data| chmod(&data.join("db"), 0o755)),
        ("the generation's mode", |data| chmod(data, 0o755)),
        ("bytes of equal length", |data| {
            chmod(&data.join("db/password"), 0o640);
            files::write(data.join("db/password"), "odl").unwrap();
            chmod(&data.join("db/password"), 0o440);
        }),
        ("a file that is gone", |data| files::remove_file(data.join("db/user")).unwrap()),
        ("a file too many", |data| files::write(data.join("db/more"), "").unwrap()),
        ("a link too many", |data| symlink("user", data.join("db/more")).unwrap()),
        ("a link in a file's place", |data| {
            files::rename(data.join("db/user"), data.join("user")).unwrap();
            symlink("../user", data.join("db/user")).unwrap();
        }),
        ("the agent's own copy", |data| files::remove_file(data.join("..bundle.json")).unwrap()),
    ];
    for (what, spoil) in cases {
        let (dir, mut store) = published(FIRST);
        spoil(&dir.path().join(data(&dir)));
        let outcome = publish(&mut store, FIRST).unwrap();
        assert_eq!(outcome, Outcome::Published(Generation(2)), "{what}");
        assert_eq!((read(&dir, "db/user"), mode(&dir, "db/user")), ("ada".into(), 0o440), "{what}");
        assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Unchanged(Generation(2)));
    }
}

#[test]
fn a_current_set_gets_the_modes_of_new_settings() {
    let (dir, store) = published(FIRST);
    drop(store);
    let mut wanted = output(dir.path());
    wanted.access.file_mode = 0o444;
    wanted.access.dir_mode = 0o755;
    let mut store = open_as(&wanted, "a test");
    assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Published(Generation(2)));
    assert_eq!(
        (mode(&dir, "db/user"), mode(&dir, "db"), mode(&dir, "..segura")),
        (0o444, 0o755, 0o755)
    );
    store.sweep();
    assert_eq!(generations(&dir).len(), 1);
}

#[test]
fn a_publish_removes_old_keys_and_names_and_adds_new_ones() {
    let before: Secrets<'_> =
        &[("db", &[&[("user", "ada"), ("pin", "1")]]), ("gone", &[&[("k", "v")]])];
    let (dir, mut store) = published(before);
    let after: Secrets<'_> =
        &[("db", &[&[("user", "ada"), ("port", "2")]]), ("new", &[&[("k", "v")]])];
    assert_eq!(publish(&mut store, after).unwrap(), Outcome::Published(Generation(2)));
    assert_eq!((read(&dir, "db/port"), read(&dir, "new/k")), ("2".into(), "v".into()));
    assert!(!exists(&dir, "db/pin"));
    assert!(!exists(&dir, "gone"));
}

#[test]
fn removed_links_are_restored_without_a_new_generation() {
    let (dir, mut store) = published(FIRST);
    files::remove_file(dir.path().join("db")).unwrap();
    files::remove_file(dir.path().join(STATE_LINK)).unwrap();
    symlink("..data/old", dir.path().join("old")).unwrap();
    store.recheck();
    assert_eq!(publish(&mut store, FIRST).unwrap(), Outcome::Unchanged(Generation(1)));
    assert_eq!(read(&dir, "db/user"), "ada");
    assert!(exists(&dir, STATE_LINK));
    assert!(!exists(&dir, "old"));
}

#[test]
fn a_foreign_file_in_the_way_is_refused_and_stays() {
    type Squat = fn(&Path);
    let cases: [(&str, Squat); 4] = [
        ("a file", |path| files::write(path, "mine").unwrap()),
        ("a folder", |path| files::create_dir(path).unwrap()),
        ("a link outside", |path| symlink("/etc", path).unwrap()),
        ("a link to another name", |path| symlink("..data/db", path).unwrap()),
    ];
    let wanted: Secrets<'_> = &[("a", &[&[("k", "v")]]), ("b", &[&[("k", "v")]]), FIRST[0]];
    for (what, squat) in cases {
        let (dir, mut store) = published(FIRST);
        squat(&dir.path().join("b"));
        let before = picture(dir.path());
        let proven = store.prove(&["a", "b"]).unwrap_err();
        assert!(proven.to_string().ends_with("/b"), "{proven}");
        let error = publish(&mut store, wanted).unwrap_err();
        let message = chain(&error);
        assert!(message.contains("/b: something that the agent did not make"), "{what}: {message}");
        assert!(error.hint().is_some());
        assert_eq!(picture(dir.path()), before, "{what}");
    }
}

#[test]
fn a_publish_that_fails_leaves_the_old_set_and_nothing_else() {
    let long = "k".repeat(300);
    let too_long: &[(&str, &str)] = &[("a", "1"), (&long, "2")];
    let cases: [(&str, Option<&str>, Secrets<'_>); 3] = [
        ("half of the files", None, &[("db", &[too_long]), ("new", &[&[("k", "v")]])]),
        (
            "the seal",
            Some("..segura/seal.tmp"),
            &[("db", &[&[("user", "eve")]]), ("new", &[&[("k", "v")]])],
        ),
        ("the state", Some("..segura/state.json.tmp"), SECOND),
    ];
    for (what, squat, secrets) in cases {
        let (dir, mut store) = published(FIRST);
        if let Some(squat) = squat {
            files::create_dir(dir.path().join(squat)).unwrap();
        }
        let before = picture(dir.path());
        assert!(publish(&mut store, secrets).is_err(), "{what}");
        if what != "the state" {
            assert_eq!(picture(dir.path()), before, "{what}");
        }
        if let Some(squat) = squat {
            files::remove_dir(dir.path().join(squat)).unwrap();
        }
        // Without the fault, the same store publishes again.
        let outcome = publish(&mut store, SECOND).unwrap();
        assert_eq!(outcome.generation(), Generation(2), "{what}");
        assert_eq!(read(&dir, "db/password"), "new", "{what}");
        store.sweep();
        assert_eq!(generations(&dir).len(), 1, "{what}");
    }
}

#[test]
fn files_and_folders_inherit_from_a_set_gid_directory() {
    let dir = memory();
    // Only root may give a directory to a group that it is not in; others keep their own.
    let group = if rustix::process::geteuid().is_root() {
        2000
    } else {
        rustix::process::getegid().as_raw()
    };
    std::os::unix::fs::chown(dir.path(), None, Some(group)).unwrap();
    chmod(dir.path(), 0o2775);
    let mut store = open(&dir);
    publish(&mut store, &[("a/b", &[&[("k", "v")]])]).unwrap();
    for (path, wanted) in [
        (DATA, 0o2750),
        ("..segura", 0o2750),
        ("a", 0o2750),
        ("a/b", 0o2750),
        ("a/b/k", 0o440),
        (STATE_LINK, 0o440),
    ] {
        let gid = files::metadata(dir.path().join(path)).unwrap().gid();
        assert_eq!((gid, mode(&dir, path)), (group, wanted), "{path}");
    }
    assert_eq!(mode(&dir, "."), 0o2775, "the directory itself is never changed");
    assert_eq!(
        publish(&mut store, &[("a/b", &[&[("k", "v")]])]).unwrap(),
        Outcome::Unchanged(Generation(1))
    );
}

#[test]
fn the_previous_generation_stays_for_its_readers_until_it_is_swept() {
    let (dir, mut store) = published(FIRST);
    let held = fs::open(dir.path().join(DATA), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let held = held.unwrap();
    let password = || {
        let file = fs::openat(&held, "db/password", OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        Some(text)
    };
    publish(&mut store, SECOND).unwrap();
    assert_eq!(password().as_deref(), Some("old"));
    assert_eq!(read(&dir, "db/password"), "new");
    assert_eq!(generations(&dir).len(), 2);
    store.sweep();
    assert_eq!(password(), None);
    assert_eq!(generations(&dir).len(), 1);
    assert_eq!(read(&dir, "db/password"), "new");
}

#[test]
fn readers_never_see_a_mixture_or_a_missing_file() {
    let (dir, mut store) = published(&[("db", &[&[("user", "0"), ("password", "0")]])]);
    let done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let read_at = |held: &OwnedFd, key: &str| {
        let file = fs::openat(held, key, OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        text.parse::<u32>().unwrap()
    };
    std::thread::scope(|scope| {
        // One reads in a generation that it holds open, the other by the visible names.
        let holder = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Acquire) {
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
                let held = fs::open(dir.path().join(DATA), flags, Mode::empty()).unwrap();
                let (user, password) = (read_at(&held, "db/user"), read_at(&held, "db/password"));
                assert_eq!(user, password);
                seen.insert(user);
                rounds.fetch_add(1, Ordering::Release);
            }
            seen.len()
        });
        let user = scope.spawn(|| {
            let path = dir.path().join("db/password");
            let mut latest = 0;
            while !done.load(Ordering::Acquire) {
                let now = files::read_to_string(&path).unwrap().parse::<u32>().unwrap();
                assert!(now >= latest, "sets only get newer");
                latest = now;
            }
            latest
        });
        for n in 1..=200 {
            let n = n.to_string();
            publish(&mut store, &[("db", &[&[("user", &n), ("password", &n)]])]).unwrap();
        }
        let after = rounds.load(Ordering::Acquire) + 2;
        while rounds.load(Ordering::Acquire) < after && !holder.is_finished() {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
        assert!(holder.join().unwrap() > 1, "the reader saw the sets change");
        user.join().unwrap();
    });
    assert_eq!(read(&dir, "db/password"), "200");
    store.sweep();
    assert_eq!(generations(&dir).len(), 1);
}

#[test]
fn names_of_generations_sort_by_time() {
    let at = |nanos| SystemTime::UNIX_EPOCH + Duration::new(1_790_000_000, nanos);
    assert_eq!(generation::name(at(5)), "..2026_09_21_14_13_20.000000005");
    assert!(generation::name(at(5)) < generation::name(at(10)));
}

#[test]
fn a_state_that_could_not_be_read_back_is_refused_before_anything_is_written() {
    let (dir, mut store) = published(FIRST);
    let before = picture(dir.path());
    let one = remembered(FIRST).secrets.remove(0);
    let bundle = bundle(SECOND);
    let rendering = render(&bundle, &layout("files")).unwrap();
    let mut state = State { secrets: vec![one; 40_000], ..state() };
    let error = store.publish(&rendering.files, &mut state, clock::wall()).unwrap_err();
    assert!(chain(&error).contains("the state of so many secrets is larger than 4 MiB"));
    assert_eq!(error.failure().exit, crate::exit::Exit::Malformed);
    assert!(error.hint().unwrap().contains("SEGURA_IDENTITY"));
    assert!(store.save(&state).is_err());
    assert_eq!(picture(dir.path()), before);
}

#[test]
fn kept_secrets_that_could_not_be_read_back_are_not_written() {
    let dir = memory();
    let store = open(&dir);
    let note = KeptNote { origin: origin(), secrets: Vec::new(), given_back: false };
    let value = "v".repeat(20 << 20);
    let error = store.keep(&note, &bundle(&[("a", &[&[("k", &value)]])])).unwrap_err();
    assert!(chain(&error).contains("kept.json: it is larger than 20 MiB"), "{}", chain(&error));
    assert!(!exists(&dir, "..segura/kept.json"));
}
