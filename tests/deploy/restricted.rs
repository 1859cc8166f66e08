//! What `restricted` promises, looked up at the processes themselves.

use std::io::ErrorKind;

use crate::harness::kubelet::Pod;

/// The user and the group of all manifests.
const USER: &str = "10001";

/// Asserts that a container's process has that user, no right and no root that it could write to.
#[track_caller]
pub fn assert_restricted(pod: &Pod<'_>, container: &str) {
    let process = pod.process(container);
    for field in ["Uid", "Gid"] {
        let expected = [USER; 4].join(" ");
        assert_eq!(process.status(field), expected, "{container}: {field}");
    }
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process.status(field), "0000000000000000", "{container}: {field}");
    }
    assert_eq!(process.status("NoNewPrivs"), "1", "{container}");
    assert_eq!(process.status("Seccomp"), "2", "{container} has a filter");
    assert_cannot_write(pod, container, "/file");
}

/// Asserts that a container has no way to make this file, whatever its rights.
#[track_caller]
pub fn assert_cannot_write(pod: &Pod<'_>, container: &str, file: &str) {
    let made = pod.process(container).makes(file);
    let why = made.expect_err("it could be made").kind();
    assert_eq!(why, ErrorKind::ReadOnlyFilesystem, "{container}: {file}");
}

/// Asserts that a container has neither the client secret nor the place where it is mounted.
#[track_caller]
pub fn assert_without_credentials(pod: &Pod<'_>, container: &str, client_secret: &str) {
    let has = pod.process(container).has();
    for part in [client_secret, "/etc/segura", "segura-authorization", "SEGURA_CLIENT"] {
        assert!(!has.contains(part), "{container} has {part}: {has}");
    }
}
