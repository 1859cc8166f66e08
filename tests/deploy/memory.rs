//! The memory limit of the manifests, under the most that the volume's limit lets an agent publish.

use rustix::fs::statvfs;
use serde_json::{Map, Value, json};

use super::{POD, SERVER, reads};
use crate::harness::host::skip;
use crate::harness::kubelet::volumes::mebibytes;
use crate::harness::kubelet::{manifest::Manifest, on_a_node};
use crate::harness::until;

const TEST: &str = "deploy/base: the memory limit";
const TURN: &str = "/run/secrets/segura/my-secret/turn";
/// How many rotations of the whole set there are.
const ROTATIONS: usize = 12;
/// A generation holds each value three times: under its key, under its entry's number beside the
/// account's, and in what all outputs are rebuilt from. Two generations fill the volume.
const VALUES: usize = 1_250_000;
const LENGTH: usize = 50_000;

/// A set of values that fill half of the volume, another one for each turn.
fn data(turn: usize) -> Value {
    let value = |n: usize| {
        let mut value = format!("{turn}.{n}.");
        value.extend(std::iter::repeat_n('x', LENGTH - value.len()));
        value
    };
    let mut data: Map<String, Value> =
        (0..VALUES / LENGTH).map(|n| (format!("key-{n:03}"), json!(value(n)))).collect();
    data.insert("turn".to_owned(), json!(turn.to_string()));
    Value::Object(data)
}

#[test]
fn the_agent_stays_below_its_memory_limit_while_it_publishes_the_largest_sets() {
    on_a_node(TEST, SERVER, |node| {
        let manifest = Manifest::read("base");
        let pod = node.pod(&manifest, POD);
        node.scene.vault.set_data("my-secret", data(0));
        pod.start();
        let limit = pod.container("segura-agent")["resources"]["limits"]["memory"].as_str();
        let limit = mebibytes(limit.unwrap()) * 1024 * 1024;
        let first = pod.inspect("segura-agent", "{{.State.Pid}}");
        let memory = pod.process("segura-agent").memory();
        if memory.limit() != Some(limit as u64) {
            return skip(TEST, "podman can set no memory limits here");
        }
        for turn in 1..=ROTATIONS {
            node.scene.vault.set_data("my-secret", data(turn));
            until("the app reads the new set", || {
                let probe = pod.exec("segura-agent", &["/segura-agent", "check", "ready"]);
                assert!(probe.status.success(), "{probe:?}");
                reads(&pod, TURN) == turn.to_string()
            });
        }
        let used = statvfs(pod.volume("segura")).unwrap();
        assert!(used.f_bfree < used.f_blocks / 8, "two generations fill the volume");
        assert_eq!(memory.kills(), 0, "{:?} bytes at most", memory.peak());
        assert_eq!(pod.inspect("segura-agent", "{{.State.Pid}}"), first, "it never restarted");
    });
}
