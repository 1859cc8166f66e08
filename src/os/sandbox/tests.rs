use std::os::unix::fs::symlink;

use super::*;

/// The folders of a path below a new directory, each by its path there.
fn led(dir: &Path, path: &Path) -> Vec<String> {
    let below = |folder: &PathBuf| match folder.strip_prefix(dir) {
        Ok(below) => below.display().to_string(),
        Err(_) => folder.display().to_string(),
    };
    led_through(path).iter().map(below).collect()
}

#[test]
fn a_path_leads_through_the_folders_of_its_links_and_of_its_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(temp.path()).unwrap();
    for folder in ["a", "b/c", "v/..1/deep", "v/..2/deep"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for file in ["a/file", "b/c/file", "v/..1/file", "v/..1/deep/file"] {
        fs::write(dir.join(file), "x").unwrap();
    }
    for (target, link) in [
        (dir.join("b/c/file"), "a/absolute"),
        ("../b/link".into(), "a/twice"),
        ("c/file".into(), "b/link"),
        ("c".into(), "b/folder"),
        ("missing/file".into(), "a/dangling"),
        ("circle".into(), "a/circle"),
        ("..1".into(), "v/..data"),
        ("..data/file".into(), "v/file"),
        ("..data/deep".into(), "v/deep"),
    ] {
        symlink(target, dir.join(link)).unwrap();
    }
    for (path, expected) in [
        ("a/file", &["a"][..]),
        ("a/./../a/file", &["a"]),
        ("a/missing", &["a"]),
        ("a/missing/deeper/file", &["a"]),
        ("missing/file", &[""]),
        ("a/absolute", &["a", "b/c"]),
        ("a/twice", &["a", "b", "b/c"]),
        ("a/dangling", &["a"]),
        ("a/circle", &["a"]),
        ("a/file/below", &["a"]),
        ("b/folder/file", &["b/c"]),
        ("b/folder", &["b", "b/c"]),
        // The kubelet turns `..data` to another folder, of the same parent.
        ("v/file", &["v", "v/..1"]),
        ("v/deep/file", &["v", "v/..1/deep"]),
        ("v/..data/file", &["v", "v/..1"]),
    ] {
        assert_eq!(led(&dir, &dir.join(path)), expected, "{path}");
    }
    assert_eq!(led(&dir, Path::new("/missing-here/file")), ["/"]);
}

fn folders_of(files: &[&Path], system: &[&Path]) -> Result<Vec<String>, Unruled> {
    let own = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
    let needs = Needs { files: own(files), system: own(system), ..Needs::default() };
    let found = Rules::of(needs, NEWEST).folders?;
    Ok(found.iter().map(|folder| folder.display().to_string()).collect())
}

#[test]
fn the_root_folder_is_never_opened() {
    let root = Path::new("/missing-here/file");
    let refused = folders_of(&[Path::new("/etc/hosts"), root], &[]);
    assert_eq!(refused, Err(Unruled::Root("/missing-here/file".to_owned())));
    assert_eq!(folders_of(&[Path::new("/file")], &[]), Err(Unruled::Root("/file".to_owned())));
    assert_eq!(folders_of(&[], &[root]), Ok(vec![]));
}

#[test]
fn a_folder_below_another_one_needs_no_rule() {
    let temp = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(temp.path()).unwrap();
    fs::create_dir_all(dir.join("a/b")).unwrap();
    let (one, other) = (dir.join("a/one"), dir.join("a/b/other"));
    assert_eq!(folders_of(&[&one, &other], &[]), Ok(vec![dir.join("a").display().to_string()]));
}

#[test]
fn each_abi_is_asked_for_the_rights_that_it_has() {
    let (files, net) = governed(ABI::V1);
    assert!(files.is_empty() && net.is_empty());
    let added = |abi: ABI, before: ABI| governed(abi).0 & !governed(before).0;
    assert_eq!(governed(ABI::V2).0, AccessFs::from_all(ABI::V1) | AccessFs::Refer);
    assert_eq!(added(ABI::V3, ABI::V2), AccessFs::Truncate);
    assert_eq!(added(ABI::V5, ABI::V4), AccessFs::IoctlDev);
    for (abi, net) in [
        (ABI::V2, BitFlags::EMPTY),
        (ABI::V3, BitFlags::EMPTY),
        (ABI::V4, AccessNet::BindTcp | AccessNet::ConnectTcp),
        (NEWEST, AccessNet::BindTcp | AccessNet::ConnectTcp),
    ] {
        assert_eq!(governed(abi).1, net, "{abi:?}");
    }
    // What no test has run on is not asked for.
    assert_eq!(governed(ABI::V10), governed(NEWEST));
}

#[test]
fn rules_say_why_they_are_none() {
    let rules = |abi| Rules::of(Needs { ports: BTreeSet::from([443]), ..Needs::default() }, abi);
    for (abi, folders, ports) in [
        (ABI::Unsupported, Err(Unruled::Missing), Ports::Any),
        (ABI::V1, Err(Unruled::Old), Ports::Any),
        (ABI::V2, Ok(BTreeSet::new()), Ports::Any),
        (ABI::V4, Ok(BTreeSet::new()), Ports::Only(BTreeSet::from([443]))),
    ] {
        let found = rules(abi);
        assert_eq!((found.folders, found.ports), (folders, ports), "{abi:?}");
    }
}

#[test]
fn the_directory_that_is_written_gets_no_program_device_or_socket() {
    let none = make_bitflags!(AccessFs::{
        Execute | MakeChar | MakeBlock | MakeSock | MakeFifo | Refer | IoctlDev
    });
    assert!((written() & none).is_empty());
    assert!(
        (read() & AccessFs::from_write(NEWEST)).is_empty() && !read().contains(AccessFs::Execute)
    );
}
