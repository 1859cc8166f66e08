//! The supervision of the command: hands events to the policy, and carries out its actions. All
//! decisions are the policy's.

mod launch;
pub mod policy;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::config::settings::{OnChange, Running};
use crate::exit::Failure;
use crate::notify::Supervised;
use crate::os::incoming::{Received, Signals};
use crate::os::process::terminal::{Terminal, has_shell, stop_ourselves};
use crate::os::process::{Child, End, Holder, Reaper, Streams};
use crate::os::signal::{CHLD, CONT, HUP, INT, KILL, QUIT, Signal, TERM, TSTP, TTIN, TTOU};
use crate::os::{clock, harden};
use crate::supervise::policy::{Action, Change, Event, GroupAtEnd, OwnGroup, Policy};
pub use launch::Launch;

/// The longest wait for the end of a killed group, before it is left to the kernel.
const GROUP_END: Duration = Duration::from_secs(5);

/// Waits, while no command runs, for a signal that ends the start: the stop signal, or one that
/// ends a process by default, unless the agent was started with it ignored. Reaps adopted orphans
/// meanwhile. Cancel-safe.
pub async fn ended_before(signals: &mut Signals, reaper: &Reaper, stop: Signal) -> Signal {
    loop {
        let received = signals.recv().await;
        if let Some(signal) = ends_start(received, signals, reaper, stop) {
            return signal;
        }
    }
}

/// Gives a signal that ends the start, as [`ended_before`] does, if one has come already.
pub fn ended_already(signals: &mut Signals, reaper: &Reaper, stop: Signal) -> Option<Signal> {
    while let Some(received) = signals.try_recv() {
        if let Some(signal) = ends_start(received, signals, reaper, stop) {
            return Some(signal);
        }
    }
    None
}

fn ends_start(
    received: Received,
    signals: &Signals,
    reaper: &Reaper,
    stop: Signal,
) -> Option<Signal> {
    let Received { signal, .. } = received;
    if signal == CHLD {
        // A process may have sent it, but a pending standard signal absorbs another of its kind,
        // the kernel's own among them (`signal(7)`, "Queueing and delivery semantics").
        reaper.reap();
    } else if signals.ignores(signal) {
        // `execve(2)` keeps a signal ignored: `nohup` relies on that for HUP, and a shell ignores
        // INT and QUIT for the commands that it runs in the background (POSIX, Shell, "Signals and
        // Error Handling").
        tracing::debug!(%signal, "the signal is ignored, as its disposition was at the start of the agent");
    } else if signal == TSTP {
        // In an orphaned process group the default action of TSTP stops no process (POSIX, "Signal
        // Actions"); the agent must not stop either, since no shell would continue it.
        if has_shell() {
            stop_ourselves();
        }
    } else if [HUP, INT, QUIT, TERM, stop].contains(&signal) {
        return Some(signal);
    } else {
        tracing::debug!(%signal, "the signal is not forwarded: the command is not running");
    }
    None
}

/// The supervisor of the command.
pub struct Supervisor<'a> {
    signals: &'a mut Signals,
    reaper: Reaper,
    launch: Launch,
    command: Rc<Supervised>,
    /// The command that runs, or ran last.
    child: Option<Child>,
    terminal: Option<Terminal>,
    policy: Policy,
    splay: Duration,
    stop_signal: Signal,
    stop_timeout: Duration,
    /// The end of the wait that the policy asked for, by the boot clock.
    over: Option<Duration>,
    /// The failure, already logged, of the last check that the command can be started again.
    unready: Option<String>,
    /// The termination has been logged.
    termination_logged: bool,
    random: fastrand::Rng,
}

impl<'a> Supervisor<'a> {
    /// Prepares supervision, and starts no process yet. `at_end` decides on the group of a command
    /// that has ended by itself.
    pub fn new(
        signals: &'a mut Signals,
        reaper: Reaper,
        launch: Launch,
        command: Rc<Supervised>,
        running: &Running,
        at_end: GroupAtEnd,
    ) -> Self {
        if !harden::adopt_orphans() {
            tracing::warn!(
                "the agent can't become the subreaper: orphans of the command are not reaped"
            );
        }
        let terminal = Terminal::open();
        let change = match running.on_change {
            OnChange::Exit(code) => Change::Exit(code),
            OnChange::Restart | OnChange::Signal | OnChange::Nothing => Change::Restart,
        };
        let policy = Policy::new(change, running.stop_signal, at_end);
        Self {
            signals,
            reaper,
            launch,
            command,
            child: None,
            terminal,
            policy,
            splay: running.splay,
            stop_signal: running.stop_signal,
            stop_timeout: running.stop_timeout,
            over: None,
            unready: None,
            termination_logged: false,
            random: fastrand::Rng::new(),
        }
    }

    /// Starts the command at once, and supervises it until the end; gives the exit code.
    pub async fn supervise(&mut self) -> Result<u8, Failure> {
        if let Some(code) = self.handle(Event::GroupGone)? {
            return Ok(code);
        }
        loop {
            let over = self.over.filter(|_| self.policy.waits());
            let events = tokio::select! {
                // A signal comes before every other event.
                biased;
                received = self.signals.recv() => self.events_of(received),
                () = until(over) => {
                    self.over = None;
                    [Some(self.unless_ended(Event::TimeOver)), None]
                }
                () = self.command.wanted(), if self.policy.takes_changes() => {
                    [Some(Event::Changed), None]
                }
            };
            for event in events.into_iter().flatten() {
                if let Some(code) = self.handle(event)? {
                    return Ok(code);
                }
            }
        }
    }

    /// Lets the policy decide on an event, and carries out its actions; gives the exit code at the
    /// end.
    fn handle(&mut self, event: Event) -> Result<Option<u8>, Failure> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            if self.policy.is_between() {
                self.catch_up()?;
            }
            let action = self.policy.on(event);
            next = match self.act(action)? {
                Done::Over(code) => return Ok(Some(code)),
                Done::Then(event) => event,
            };
            if next.is_none() && self.policy.is_between() && self.is_group_gone() {
                next = Some(Event::GroupGone);
            }
        }
        Ok(None)
    }

    /// Handles the signals that have come already, so that no command is started after a
    /// terminating one.
    fn catch_up(&mut self) -> Result<(), Failure> {
        while let Some(Received { signal, .. }) = self.signals.try_recv() {
            if signal == CHLD {
                self.reaper.reap();
            } else {
                let action = self.policy.on(Event::Signal(signal));
                self.act(action)?;
            }
        }
        Ok(())
    }

    /// Takes the terminal back from the command, for the process that started the agent.
    pub fn end(&mut self) {
        self.command.ended();
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
        }
    }

    /// Gives the events of a received signal.
    fn events_of(&mut self, received: Received) -> [Option<Event>; 2] {
        let Received { signal, by_kernel } = received;
        // The kernel sends these to the agent's whole group if one process of it uses the terminal
        // from the background (POSIX, "Terminal Access Control"), and CHLD to a parent: none is for
        // the command.
        let for_others = by_kernel && [CHLD, TTIN, TTOU].contains(&signal);
        let forwarded = (!for_others).then_some(Event::Signal(signal));
        // The kernel may have merged its own CHLD with one from outside (`signal(7)`).
        let of_child = if signal == CHLD { self.of_child() } else { None };
        [forwarded, of_child]
    }

    /// Reaps children; gives the event of the command, if there is one.
    fn of_child(&mut self) -> Option<Event> {
        self.reaper.reap();
        if self.policy.is_between() {
            return self.is_group_gone().then_some(Event::GroupGone);
        }
        let ended = self.ended();
        if ended.is_some() {
            return ended;
        }
        let child = self.child.as_ref()?;
        let by = child.take_stop()?;
        let holder = self.terminal.as_ref().map(|terminal| terminal.holder(child.pid()));
        let holder = holder.unwrap_or(Holder::Nobody);
        let own_group = if has_shell() { OwnGroup::Controlled } else { OwnGroup::Orphaned };
        Some(Event::Stopped { by, holder, own_group })
    }

    /// Gives the end of the command, if the reaper has collected it.
    fn ended(&mut self) -> Option<Event> {
        let child = self.child.as_ref()?;
        let end = child.ended()?;
        self.command.ended();
        tracing::info!(pid = child.pid(), "the command has ended: {end}");
        if let (End::Signal(_), Some(terminal)) = (end, &self.terminal) {
            terminal.reset();
        }
        Some(Event::Ended(end))
    }

    /// Gives `event`, or the command's end if it has ended by itself meanwhile.
    fn unless_ended(&mut self, event: Event) -> Event {
        if self.policy.is_between() {
            return event;
        }
        self.reaper.reap();
        self.ended().unwrap_or(event)
    }

    fn is_group_gone(&self) -> bool {
        self.child.as_ref().is_none_or(Child::is_group_gone)
    }

    /// Carries out an action of the policy.
    fn act(&mut self, action: Action) -> Result<Done, Failure> {
        let mut then = None;
        match action {
            Action::Nothing => {}
            Action::Forward(signal) => self.forward(signal),
            Action::Continue | Action::GiveTerminal => {
                if let (Some(terminal), Some(child)) = (&mut self.terminal, &self.child) {
                    if action == Action::GiveTerminal {
                        terminal.give(child.pid());
                    } else {
                        terminal.offer(child.pid());
                    }
                }
                // Its whole group was stopped, so all of it goes on.
                self.send_to_group(CONT);
            }
            Action::StopOurselves => stop_ourselves(),
            Action::Splay => {
                let wait = self.splay.mul_f64(self.random.f64());
                if self.unready.is_none() {
                    let wait = humantime::format_duration(whole_millis(wait));
                    tracing::info!(
                        within = %wait,
                        "the set has changed; the command will be stopped"
                    );
                }
                self.wait(wait);
            }
            Action::Prepare => {
                let prepared = self.prepare();
                then = Some(self.unless_ended(prepared));
            }
            Action::Stop => {
                tracing::info!(signal = %self.stop_signal, "stopping the command");
                self.send(self.stop_signal);
                self.wait(self.stop_timeout);
            }
            Action::Kill => {
                tracing::warn!(
                    timeout = %humantime::format_duration(self.stop_timeout),
                    "the command did not stop in time and is killed (SEGURA_STOP_TIMEOUT)"
                );
                self.send_to_group(KILL);
                // It may have left its group (`setpgid(2)`, `setsid(2)`), and still be the child.
                self.send(KILL);
            }
            Action::KillRest => {
                // The command was reaped just now. No new process gets the number of a group that
                // exists (`fork(2)`), so that the number is its group's or unused.
                self.send_to_group(KILL);
                if let Some(terminal) = &mut self.terminal {
                    // An interrupt that is typed now is meant for the agent.
                    terminal.lend_back();
                }
                self.wait(GROUP_END);
            }
            Action::Start => {
                self.child = Some(self.start()?);
            }
            Action::Exit(code) => return Ok(Done::Over(code)),
        }
        Ok(Done::Then(then))
    }

    /// Checks that the command can be started with the current set, before the running one is
    /// stopped.
    fn prepare(&mut self) -> Event {
        let Err(failure) = self.launch.prepare() else {
            self.unready = None;
            return Event::Ready;
        };
        self.command.give_up();
        if self.unready.as_ref() != Some(&failure.message) {
            let (error, hint) = (&failure.message, failure.hint);
            tracing::warn!(error, hint, "the command keeps running with the values that it has");
            self.unready = Some(failure.message);
        }
        Event::Unready
    }

    /// Starts the command with the current set, and gives it the terminal.
    fn start(&mut self) -> Result<Child, Failure> {
        let (generation, environment) = self.launch.prepare()?;
        let program = self.launch.program();
        let child = self
            .reaper
            .spawn(program, &environment, Streams::Ours)
            .map_err(|error| self.launch.failed(&error, &environment))?;
        if let Some(terminal) = &mut self.terminal {
            terminal.offer(child.pid());
        }
        self.command.started(child.pid(), generation);
        tracing::info!(
            %generation,
            command = program.name(),
            pid = child.pid(),
            "started the command"
        );
        Ok(child)
    }

    fn forward(&mut self, signal: Signal) {
        self.send(signal);
        if signal == QUIT {
            // The restart under way is given up; the next pass requests it again.
            self.command.give_up();
        }
        if self.policy.is_terminated() && !std::mem::replace(&mut self.termination_logged, true) {
            tracing::info!(%signal, "asked to end: from now on the command is not started again");
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(child) = &self.child {
            log_unsent(signal, child.signal(signal));
        }
    }

    fn send_to_group(&self, signal: Signal) {
        if let Some(child) = &self.child {
            log_unsent(signal, child.signal_group(signal));
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.over = Some(clock::boot() + wait);
    }
}

/// The result of an action.
enum Done {
    Over(u8),
    /// The event that it has caused, if any.
    Then(Option<Event>),
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

async fn until(over: Option<Duration>) {
    match over {
        Some(at) => clock::until(at).await,
        None => std::future::pending().await,
    }
}

/// Logs that a signal could not be sent, unless the process is gone.
fn log_unsent(signal: Signal, sent: io::Result<()>) {
    if let Err(error) = sent
        && error.kind() != io::ErrorKind::NotFound
        && error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
    {
        tracing::warn!(
            %signal,
            %error,
            hint = "run the agent as the user that the command changes to, or with the KILL capability",
            "a signal could not be forwarded to the command"
        );
    }
}
