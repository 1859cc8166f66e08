//! Tables of events and their actions.

use super::*;
use crate::os::signal::{HUP, KILL, STOP, USR1};

fn policy(change: Change) -> Policy {
    running(Policy::new(change, TERM, GroupAtEnd::Left))
}

/// The policy after the start of the first command.
#[track_caller]
fn running(policy: Policy) -> Policy {
    check(policy, &[(Event::GroupGone, Action::Start)])
}

#[track_caller]
fn check(mut policy: Policy, rows: &[(Event, Action)]) -> Policy {
    for (row, (event, action)) in rows.iter().enumerate() {
        assert_eq!(policy.on(*event), *action, "row {row}: {event:?}");
    }
    policy
}

const CODE: Event = Event::Ended(End::Code(3));
const TERMINATED: Event = Event::Ended(End::Signal(TERM));

/// The events up to the stop signal for the command.
const TO_STOPPING: [(Event, Action); 3] = [
    (Event::Changed, Action::Splay),
    (Event::TimeOver, Action::Prepare),
    (Event::Ready, Action::Stop),
];

fn stopping(change: Change) -> Policy {
    match change {
        Change::Restart => check(policy(change), &TO_STOPPING),
        Change::Exit(_) => check(
            policy(change),
            &[(Event::Changed, Action::Splay), (Event::TimeOver, Action::Stop)],
        ),
    }
}

#[test]
fn a_command_that_ends_by_itself_ends_the_agent_with_its_code() {
    let row = |end, code| {
        check(policy(Change::Restart), &[(Event::Ended(end), Action::Exit(code))]);
    };
    for code in 0..=255 {
        row(End::Code(code), code);
    }
    for number in 1..=64 {
        let signal = Signal::of(number).unwrap();
        row(End::Signal(signal), 128 + u8::try_from(number).unwrap());
    }
}

#[test]
fn a_terminating_signal_before_the_first_command_starts_none() {
    for (signal, code) in [(TERM, 143), (INT, 130), (QUIT, 131)] {
        let before = Policy::new(Change::Restart, TERM, GroupAtEnd::Left);
        let rows = [
            (Event::Signal(HUP), Action::Nothing),
            (Event::Signal(signal), Action::Nothing),
            (Event::Changed, Action::Nothing),
            (Event::GroupGone, Action::Exit(code)),
        ];
        check(before, &rows);
    }
}

#[test]
fn a_restart_stops_the_command_and_starts_it_again() {
    let over = check(
        stopping(Change::Restart),
        &[
            (TERMINATED, Action::KillRest),
            (Event::GroupGone, Action::Start),
            (Event::Changed, Action::Splay),
        ],
    );
    assert!(!over.takes_changes() && over.waits());
}

#[test]
fn a_command_that_does_not_stop_in_time_is_killed_with_its_group() {
    check(
        stopping(Change::Restart),
        &[
            (Event::TimeOver, Action::Kill),
            (Event::TimeOver, Action::Nothing),
            (Event::Ended(End::Signal(KILL)), Action::KillRest),
            (Event::TimeOver, Action::Start),
        ],
    );
}

#[test]
fn changes_during_a_restart_cause_no_second_one() {
    for at in 0..TO_STOPPING.len() {
        let (before, after) = TO_STOPPING.split_at(at + 1);
        let mut policy = check(policy(Change::Restart), before);
        for _ in 0..50 {
            assert!(!policy.takes_changes());
            assert_eq!(policy.on(Event::Changed), Action::Nothing);
        }
        let policy = check(policy, after);
        let rows = [
            (TERMINATED, Action::KillRest),
            (Event::Changed, Action::Nothing),
            (Event::GroupGone, Action::Start),
        ];
        assert!(check(policy, &rows).takes_changes(), "what has come after the start is new");
    }
}

#[test]
fn a_set_that_no_command_can_be_started_with_keeps_the_running_one() {
    check(
        policy(Change::Restart),
        &[
            (Event::Changed, Action::Splay),
            (Event::TimeOver, Action::Prepare),
            (Event::Unready, Action::Nothing),
            (Event::Changed, Action::Splay),
        ],
    );
}

#[test]
fn a_command_that_ends_before_it_is_stopped_is_not_started_again() {
    for at in 0..TO_STOPPING.len() {
        let before = TO_STOPPING.split_at(at).0;
        check(check(policy(Change::Restart), before), &[(CODE, Action::Exit(3))]);
    }
}

#[test]
fn a_change_may_end_the_agent_with_a_code() {
    check(
        stopping(Change::Exit(75)),
        &[(TERMINATED, Action::KillRest), (Event::GroupGone, Action::Exit(75))],
    );
    check(
        stopping(Change::Exit(75)),
        &[
            (Event::TimeOver, Action::Kill),
            (Event::Ended(End::Signal(KILL)), Action::KillRest),
            (Event::TimeOver, Action::Exit(75)),
        ],
    );
}

#[test]
fn every_signal_is_forwarded_every_time() {
    for number in (1..=31).chain(34..=64) {
        let signal = Signal::of(number).unwrap();
        let rows = [(Event::Signal(signal), Action::Forward(signal)); 3];
        check(policy(Change::Restart), &rows);
        check(stopping(Change::Restart), &rows);
    }
}

#[test]
fn a_terminating_signal_cancels_every_plan_and_never_escalates() {
    for signal in [TERM, INT] {
        let forward = (Event::Signal(signal), Action::Forward(signal));
        for at in 0..=TO_STOPPING.len() {
            let before = TO_STOPPING.split_at(at).0;
            let rows = [
                forward,
                (Event::TimeOver, Action::Nothing),
                (Event::Ready, Action::Nothing),
                (Event::Changed, Action::Nothing),
                forward,
                (Event::TimeOver, Action::Nothing),
                (CODE, Action::Exit(3)),
                (Event::Signal(signal), Action::Nothing),
            ];
            check(check(policy(Change::Restart), before), &rows);
            check(
                check(policy(Change::Restart), before),
                &[forward, (TERMINATED, Action::Exit(143))],
            );
        }
        let code = 128 + u8::try_from(signal.number()).unwrap();
        let rows = [
            (TERMINATED, Action::KillRest),
            (Event::Signal(USR1), Action::Nothing),
            (Event::Signal(signal), Action::Nothing),
            (Event::Signal(HUP), Action::Nothing),
            (Event::GroupGone, Action::Exit(code)),
        ];
        check(stopping(Change::Restart), &rows);
        let exit = [
            (TERMINATED, Action::KillRest),
            (Event::Signal(signal), Action::Nothing),
            (Event::GroupGone, Action::Exit(75)),
        ];
        check(stopping(Change::Exit(75)), &exit);
    }
}

#[test]
fn the_stop_signal_terminates_too_and_others_do_not() {
    let winch = Signal::of(28).unwrap();
    let policy = |stop| running(Policy::new(Change::Restart, stop, GroupAtEnd::Left));
    let forward = (Event::Signal(winch), Action::Forward(winch));
    check(policy(winch), &[forward, (Event::Changed, Action::Nothing)]);
    check(policy(TERM), &[forward, (Event::Changed, Action::Splay)]);
    let hup = (Event::Signal(HUP), Action::Forward(HUP));
    check(policy(TERM), &[hup, (Event::Changed, Action::Splay)]);
}

#[test]
fn deprovisioning_at_the_end_waits_for_the_group() {
    let policy = running(Policy::new(Change::Restart, TERM, GroupAtEnd::Killed));
    let rows = [
        (CODE, Action::KillRest),
        (Event::Signal(TERM), Action::Nothing),
        (Event::GroupGone, Action::Exit(3)),
    ];
    check(policy.clone(), &rows);
    check(policy, &[(CODE, Action::KillRest), (Event::TimeOver, Action::Exit(3))]);
}

#[test]
fn sigquit_cancels_the_restart_under_way_and_no_later_one() {
    let forward = (Event::Signal(QUIT), Action::Forward(QUIT));
    for at in 0..=TO_STOPPING.len() {
        let before = TO_STOPPING.split_at(at).0;
        let policy = check(check(policy(Change::Restart), before), &[forward]);
        assert!(policy.takes_changes() && !policy.is_terminated());
        check(policy.clone(), &[(Event::TimeOver, Action::Nothing), (CODE, Action::Exit(3))]);
        check(policy, &TO_STOPPING);
    }
    let rows = [
        (TERMINATED, Action::KillRest),
        (Event::Signal(QUIT), Action::Nothing),
        (Event::GroupGone, Action::Exit(131)),
    ];
    check(stopping(Change::Restart), &rows);
}

#[test]
fn a_stop_by_the_terminal_stops_the_agent_too_if_a_process_can_continue_it() {
    use Action::{Continue, GiveTerminal, Nothing, StopOurselves};
    use Holder::{Command, Nobody, Other, Ourselves};
    for (by, holder, own_group, expected) in [
        (TSTP, Command, OwnGroup::Controlled, StopOurselves),
        (TSTP, Command, OwnGroup::Orphaned, Continue),
        (TSTP, Nobody, OwnGroup::Controlled, Nothing),
        (TSTP, Other, OwnGroup::Controlled, StopOurselves),
        (TTIN, Command, OwnGroup::Controlled, GiveTerminal),
        (TTIN, Command, OwnGroup::Orphaned, GiveTerminal),
        (TTIN, Ourselves, OwnGroup::Controlled, GiveTerminal),
        (TTIN, Ourselves, OwnGroup::Orphaned, GiveTerminal),
        (TTIN, Other, OwnGroup::Controlled, StopOurselves),
        (TTIN, Other, OwnGroup::Orphaned, Nothing),
        (TTOU, Command, OwnGroup::Orphaned, GiveTerminal),
        (STOP, Command, OwnGroup::Controlled, StopOurselves),
        (STOP, Command, OwnGroup::Orphaned, Nothing),
        (STOP, Other, OwnGroup::Controlled, Nothing),
        (STOP, Nobody, OwnGroup::Orphaned, Nothing),
    ] {
        let mut policy = policy(Change::Restart);
        let stopped = Event::Stopped { by, holder, own_group };
        assert_eq!(policy.on(stopped), expected, "{by} {holder:?} {own_group:?}");
        let first = policy.on(Event::Signal(CONT));
        let alone = [Continue, GiveTerminal].contains(&expected) || holder == Nobody;
        assert_eq!(first, if alone { Action::Forward(CONT) } else { Continue }, "{by} {holder:?}");
        assert_eq!(policy.on(Event::Signal(CONT)), Action::Forward(CONT));
    }
}
