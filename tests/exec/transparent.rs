//! The command runs as if the wrapper had not been there: what it is given is compared, wherever it
//! can be, with what the same shell gives to the same program without a wrapper.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Write, pipe};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::basics::{HOLD, Held, SUPERVISED_AND_NOT, WAIT};
use crate::harness::{
    Run, Scene, for_a_while,
    host::{NOBODY, can_switch_user, is_root},
    sidecar::Sidecar,
    until,
};

/// Runs the same program in a wrapper and without one, each with this before it.
const TWICE: &str = r#"before=$1 agent=$2; shift 2
$before "$agent" exec -- "$@" || exit
printf '\n==\n'
$before "$@""#;

/// What a program prints in a wrapper, and what it prints without: the shell's `setup` and the words
/// `before` come first for both.
#[track_caller]
fn twice(scene: &Scene, setup: &str, before: &str, words: &[&str]) -> (String, String) {
    let agent = scene.agent(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{setup}\n{TWICE}"), "sh", before]);
    shell.arg(agent.get_program()).args(words).env_clear();
    shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = Sidecar::spawn(shell).wait();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (wrapped, bare) = run.stdout.split_once("\n==\n").expect("both have run");
    (wrapped.to_owned(), bare.to_owned())
}

/// Lines by what stands before the colon.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect()
}

/// Signals of a mask in `/proc/PID/status`, but for the two that are the C library's own.
fn mask(field: &str) -> u64 {
    u64::from_str_radix(field, 16).expect("hexadecimal digits") & !(1 << 31 | 1 << 32)
}

fn bits(signals: &[u32]) -> u64 {
    signals.iter().map(|signal| 1 << (signal - 1)).sum()
}

/// What a process is that no program chooses; the rest of its status is its own business.
fn is_its_own(field: &str) -> bool {
    let own = ["FDSize", "Pid", "PPid", "Tgid", "NSpid", "NStgid", "NSpgid", "SigQ", "SigIgn"];
    let counts = ["Vm", "Rss", "voluntary", "nonvoluntary", "Hugetlb"];
    own.contains(&field) || counts.iter().any(|beginning| field.starts_with(beginning))
}

#[test]
fn arguments_are_passed_byte_for_byte() {
    let odd: [&[u8]; 14] = [
        b"",
        b" ",
        b"two words",
        b"line\nbreak\n",
        b"'\"`$(id)\\",
        b"\xff\xfe\x80",
        b"--",
        b"--help",
        b"-h",
        b"--version",
        b"-",
        b"exec",
        b"*",
        b"",
    ];
    let mut scene = Scene::with_published_set();
    // A shell shows what it was called by and with.
    let own: [&[u8]; 3] = [b"sh", b"-c", b"cat /proc/$$/cmdline; :"];
    let expected: Vec<u8> =
        own.iter().chain(&odd).flat_map(|word| [*word, b"\0"].concat()).collect();
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        for begin in [&["exec"][..], &["exec", "--"]] {
            let mut agent = scene.agent(begin);
            agent.args(own.iter().chain(&odd).map(|word| OsStr::from_bytes(word)));
            let output = agent.output().unwrap();
            assert_eq!(output.stdout, expected, "{begin:?}: {}", Run::of(output.clone()).stderr);
        }
    }
}

#[test]
fn a_command_may_have_any_name() {
    let mut scene = Scene::with_published_set();
    let path = scene.vault.dir().join(OsStr::from_bytes(b"--help \xff\n"));
    fs::copy("/bin/true", &path).unwrap();
    let below = path.strip_prefix(scene.vault.dir()).unwrap();
    scene.set("PATH", &scene.vault.dir().display().to_string());
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        for word in [path.as_os_str(), below.as_os_str()] {
            let run = Run::of(scene.agent(&["exec", "--"]).arg(word).output().unwrap());
            run.exits(0);
        }
    }
}

#[test]
fn the_three_streams_are_the_commands() {
    // More than a pipe holds, and no text.
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for interval in SUPERVISED_AND_NOT {
        let mut scene = Scene::new();
        scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_LOG", "trace");
        let (reader, mut writer) = pipe().unwrap();
        let mut wrapper = scene.wrapper(&["/bin/sh", "-c", "echo to-stderr >&2; exec cat"]);
        wrapper.stdin(reader);
        let wrapper = Sidecar::spawn(wrapper);
        writer.write_all(&bytes).unwrap();
        drop(writer);
        until("all has passed", || wrapper.printed().len() >= bytes.len());
        assert!(wrapper.printed() == bytes, "stdout is the command's alone, to the byte");
        let run = wrapper.wait();
        assert!(run.stderr.lines().any(|line| line == "to-stderr"), "{}", run.stderr);
        assert!(run.stderr.contains("\"TRACE\""), "the agent says all it can: {}", run.stderr);
        assert_eq!(run.stdout.len(), String::from_utf8_lossy(&bytes).len());
    }
}

#[test]
fn inherited_attributes_of_a_process_reach_the_command() {
    let mut scene = Scene::with_published_set();
    // Each of these differs from what the agent was started with.
    let setup = "umask 0027; ulimit -n 512; ulimit -S -s 7000; ulimit -S -c \"$(ulimit -H -c)\"
        echo 1000 >/proc/self/oom_score_adj; cd /usr/lib";
    let signals = "env --block-signal=USR1,ALRM,RTMIN+3,RTMAX --ignore-signal=HUP,INT,USR2,RTMIN+5";
    let before = format!("nice -n 3 setpriv --no-new-privs {signals}");
    let files = ["status", "limits", "oom_score_adj"].map(|name| format!("/proc/self/{name}"));
    let words: Vec<&str> = ["cat"].into_iter().chain(files.iter().map(String::as_str)).collect();
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let (wrapped, bare) = twice(&scene, setup, &before, &words);
        let without_own = |text: &str| -> Vec<String> {
            let own = |line: &&str| line.split_once(':').is_some_and(|(name, _)| is_its_own(name));
            text.lines().filter(|line| !own(line)).map(str::to_owned).collect()
        };
        assert_eq!(without_own(&wrapped), without_own(&bare), "{interval}");
        let (status, bare_status) = (fields(&wrapped), fields(&bare));
        assert_eq!(mask(status["SigIgn"]), mask(bare_status["SigIgn"]), "{interval}");
        assert_eq!(mask(status["SigIgn"]), bits(&[1, 2, 12, 39]), "{interval}");
        assert_eq!(mask(status["SigBlk"]), bits(&[10, 14, 37, 64]), "{interval}");
        assert_eq!((status["NoNewPrivs"], status["Umask"]), ("1", "0027"));
        assert_eq!(wrapped.lines().last(), Some("1000"));
        let (wrapped, bare) = twice(&scene, setup, &before, &["readlink", "/proc/self/cwd"]);
        assert_eq!(wrapped, bare);
        assert_eq!(wrapped.trim_end(), fs::canonicalize("/usr/lib").unwrap().to_string_lossy());
        let (wrapped, bare) = twice(&scene, setup, &before, &["nice"]);
        assert_eq!(wrapped, bare);
    }
}

#[test]
fn by_default_no_signal_is_blocked_or_ignored() {
    let mut scene = Scene::with_published_set();
    let before = "env --default-signal";
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let (wrapped, bare) = twice(&scene, "", before, &["cat", "/proc/self/status"]);
        let (status, bare) = (fields(&wrapped), fields(&bare));
        for set in ["SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!((mask(status[set]), mask(bare[set])), (0, 0), "{interval}: {set}");
        }
    }
}

#[test]
fn sigpipe_is_never_ignored_and_an_inherited_ignored_sigchld_does_no_harm() {
    let mut scene = Scene::with_published_set();
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let ignoring = "exec env --ignore-signal=PIPE,CHLD \"$@\"";
        let wrapper = scene.wrapper_by(ignoring, &["cat", "/proc/self/status"]);
        let run = Sidecar::spawn(wrapper).wait();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(mask(fields(&run.stdout)["SigIgn"]) & bits(&[13]), 0, "{}", run.stdout);
        // The end of a command is seen by who was started not to hear of it.
        let wrapper = scene.wrapper_by(ignoring, &["/bin/sh", "-c", "exit 9"]);
        Sidecar::spawn(wrapper).wait().exits(9);
    }
}

/// What descriptors lead to, numbers that differ from run to run left out.
fn descriptors(listed: &str) -> BTreeMap<&str, String> {
    let shown = |target: &str| {
        let digits = |c: char| c.is_ascii_digit();
        if target.starts_with("/proc/") { target.replace(digits, "") } else { target.to_owned() }
    };
    let links = listed.lines().filter_map(|line| line.split_once(" -> "));
    links.map(|(from, to)| (from.rsplit(' ').next().unwrap_or(from), shown(to))).collect()
}

#[test]
fn inherited_descriptors_are_passed_and_the_agents_own_are_not() {
    let mut scene = Scene::with_published_set();
    let setup = "exec 7</etc/passwd 8>/dev/null 9<>/dev/zero";
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let (wrapped, bare) = twice(&scene, setup, "", &["ls", "-l", "/proc/self/fd"]);
        let (wrapped, bare) = (descriptors(&wrapped), descriptors(&bare));
        assert_eq!(wrapped, bare, "{interval}");
        assert_eq!(wrapped["7"], "/etc/passwd");
        assert!(wrapped.contains_key("8") && wrapped.contains_key("9"), "{wrapped:?}");
    }
}

#[test]
fn a_restarted_command_gets_the_same_arguments_and_environment() {
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "app");
    scene.set("SEGURA_RENEW_INTERVAL", "1s").set("SEGURA_RESTART_SPLAY", "0s");
    // With a connection, a watch and something to listen on, the agent has all that it ever has.
    scene.set("SEGURA_LISTEN", "127.0.0.1:0");
    scene.vault.set_data("app", r#"{"value": "one"}"#);
    let shown = "ls -l /proc/$$/fd; grep -E '^(SigIgn|Umask)' /proc/$$/status";
    let script = format!("{HOLD}; {shown}; echo \"== $value\"; {WAIT}");
    let setup = "umask 0027; exec 7</etc/passwd; exec env --ignore-signal=HUP \"$@\"";
    let wrapper = Held::spawn(scene.wrapper_by(setup, &["/bin/sh", "-c", &script]));
    wrapper.until_printed("== one\n");
    scene.vault.set_data("app", r#"{"value": "two"}"#);
    wrapper.until_printed("== two\n");
    let printed = wrapper.stdout();
    let (first, rest) = printed.split_once("== one\n").unwrap();
    let (second, _) = rest.split_once("== two\n").unwrap();
    assert_eq!(descriptors(first), descriptors(second));
    assert!(descriptors(first).contains_key("7"), "{first}");
    assert_eq!(fields(first)["SigIgn"], fields(second)["SigIgn"]);
    assert_eq!((fields(second)["Umask"], mask(fields(second)["SigIgn"])), ("0027", bits(&[1])));
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn a_command_heads_a_group_of_its_own_in_our_session() {
    let scene = Scene::with_published_set();
    let stat = |text: &str| -> Vec<u32> {
        let numbers = text.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        numbers.split(' ').skip(1).take(3).map(|number| number.parse().unwrap()).collect()
    };
    let wrapper = Held::spawn(scene.wrapper(&["cat", "/proc/self/stat", "-"]));
    wrapper.until_printed("\n");
    let printed = wrapper.stdout();
    let [parent, group, session] = stat(&printed)[..] else { panic!("{printed}") };
    let ours = fs::read_to_string(format!("/proc/{}/stat", wrapper.id())).unwrap();
    assert_eq!((parent, session), (wrapper.id(), stat(&ours)[2]));
    assert_eq!(printed.split(' ').next(), Some(group.to_string().as_str()));
    assert_ne!(group, stat(&ours)[1]);
    assert_eq!(wrapper.release().code, Some(0));
}

#[test]
fn hardening_of_the_agent_does_not_apply_to_the_command() {
    let test = "hardening_of_the_agent_does_not_apply_to_the_command";
    // What root hides is root's as well, so root's tests need another user.
    let root = is_root();
    if root && !can_switch_user(test) {
        return;
    }
    let mut scene = Scene::new();
    scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
    if root {
        chown(scene.dir.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
    }
    for interval in SUPERVISED_AND_NOT {
        scene.set("SEGURA_RENEW_INTERVAL", interval);
        let words = ["exec", "--", "stat", "-c", "%u", "/proc/self/environ", "/proc/self/mem"];
        let agent = if root { scene.agent_as(NOBODY, &words) } else { scene.agent(&words) };
        let run = Sidecar::spawn(agent).wait();
        let uid = if root { NOBODY.uid } else { rustix::process::geteuid().as_raw() };
        assert_eq!((run.code, run.stdout), (Some(0), format!("{uid}\n{uid}\n")), "{}", run.stderr);
    }
}

#[test]
fn without_renewal_orphans_have_the_same_parent_as_without_the_agent() {
    // The one in the middle ends, and its child is an orphan.
    let orphan = "(sh -c 'read -r _ <&3; :' & echo \"orphan $!\"); echo ready";
    let script = format!("{HOLD}; {orphan}; {WAIT}");
    let words = ["/bin/sh", "-c", &script];
    let mut scene = Scene::with_published_set();
    scene.set("SEGURA_RENEW_INTERVAL", "off");
    let mut without = Command::new(words[0]);
    without.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
    for command in [without, scene.wrapper(&words)] {
        let head = Held::spawn(command);
        head.until_printed("\nready\n");
        let printed = head.stdout();
        let orphan = printed.lines().next().unwrap().trim_start_matches("orphan ");
        let status = fs::read_to_string(format!("/proc/{orphan}/status")).unwrap();
        assert_ne!(fields(&status)["PPid"], head.id().to_string(), "its parent is another");
        assert_eq!(head.release().code, Some(0));
    }
}

#[test]
fn a_command_that_closes_its_descriptors_disturbs_no_process() {
    let scene = Scene::with_published_set();
    let trace = scene.vault.dir().join("trace");
    let path = trace.display();
    let script = format!(
        "exec 0<&- 1>&- 2>&- 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        trap 'echo signalled >>{path}; exit 7' TERM
        echo ready >>{path}
        while [ -e {path} ]; do sleep 0.05; done"
    );
    let wrapper = scene.exec(&["/bin/sh", "-c", &script]);
    let read = || fs::read_to_string(&trace).unwrap_or_default();
    until("it runs", || read() == "ready\n");
    for_a_while("the agent stays", || !wrapper.has_ended());
    wrapper.send(Signal::TERM);
    let run = wrapper.wait();
    assert_eq!((run.code, read().as_str()), (Some(7), "ready\nsignalled\n"), "{}", run.stderr);
}

#[test]
fn an_agent_without_streams_runs_its_command() {
    for interval in SUPERVISED_AND_NOT {
        let mut scene = Scene::new();
        scene.set("SEGURA_SOURCE", "secret").set("SEGURA_IDENTITY", "application5");
        scene.set("SEGURA_RENEW_INTERVAL", interval).set("SEGURA_LOG", "trace");
        let trace = scene.vault.dir().join("trace");
        let script = format!("echo \"$my_key_name\" >{}; exit 8", trace.display());
        let closing = "exec \"$@\" <&- >&- 2>&-";
        let run = Sidecar::spawn(scene.wrapper_by(closing, &["/bin/sh", "-c", &script])).wait();
        assert_eq!((run.code, run.stderr.as_str()), (Some(8), ""));
        assert_eq!(fs::read_to_string(&trace).unwrap(), "my_key_value\n", "{interval}");
    }
}
