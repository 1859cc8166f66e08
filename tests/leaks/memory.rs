//! What a waiting sidecar still holds: no value, in none of its pages.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use rustix::process::Signal;

use super::{VALUE, with};
use crate::{
    dev_vault::Options,
    harness::{
        SEED,
        host::{is_root, skip},
        send, until,
    },
};

/// Everything that a process may write to, as root reads it.
pub(super) fn writable(pid: u32) -> Vec<(String, Vec<u8>)> {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("root may read it");
    let writable = maps
        .lines()
        .filter(|map| map.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
    let read = |map: &str| {
        let (from, to) = map.split(' ').next()?.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let length = u64::from_str_radix(to, 16).ok()? - from;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        memory.read_exact_at(&mut bytes, from).ok()?;
        Some((map.to_owned(), bytes))
    };
    writable.filter_map(read).collect()
}

#[test]
fn a_waiting_sidecar_holds_no_value_in_memory() {
    if !is_root() {
        return skip(
            "a_waiting_sidecar_holds_no_value_in_memory",
            "only root reads another's memory",
        );
    }
    let mut scene = with(Options::default());
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_LOG", "info");
    let mut agent =
        scene.agent(&["sidecar"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let generation =
        || scene.path(".segura.json").exists().then(|| scene.state()["generation"].as_u64());
    until("a set is published", || generation().is_some());
    scene.vault.set_data(SEED, format!(r#"{{"key": "{VALUE}-4"}}"#));
    until("the next one is published", || generation().flatten() == Some(2));
    until("the one before it is swept", || scene.generations().len() == 1);
    let holding = || {
        let pages = writable(agent.id()).into_iter();
        let holding = pages
            .filter(|(_, bytes)| bytes.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()));
        holding.map(|(map, _)| map).collect::<Vec<_>>()
    };
    assert!(!writable(agent.id()).is_empty());
    until("no page holds a value", || holding().is_empty());
    send(&agent, Signal::TERM);
    agent.wait().unwrap();
}
