//! The command under supervision: events go to the policy, and what it says is done. Nothing is
//! decided here.

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

/// How long a killed group may take to be gone, before it is left to the kernel.
const GOES: Duration = Duration::from_secs(5);

/// Waits, while no command runs, for a signal that ends the start: one whose action would, unless we
/// were started to ignore it. Orphans that come to us are waited for meanwhile.
pub async fn ended_before(signals: &mut Signals, reaper: &Reaper, stop: Signal) -> Signal {
    loop {
        let received = signals.recv().await;
        if let Some(signal) = ends_start(received, signals, reaper, stop) {
            return signal;
        }
    }
}

/// The same, if such a signal has come already.
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
        // Whoever sent it, the kernel may have merged its own with it.
        reaper.reap();
    } else if signals.ignores(signal) {
        tracing::debug!(%signal, "the signal is ignored, as it was when the agent was started");
    } else if signal == TSTP {
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

/// What supervises the command.
pub struct Supervisor<'a> {
    signals: &'a mut Signals,
    reaper: Reaper,
    launch: Launch,
    command: Rc<Supervised>,
    /// The one that runs, or has run last.
    child: Option<Child>,
    terminal: Option<Terminal>,
    policy: Policy,
    splay: Duration,
    stop_signal: Signal,
    stop_timeout: Duration,
    /// When the wait that the policy asked for is over, by the boot clock.
    over: Option<Duration>,
    /// Why the command could not be started anew when that was last proven; it has been said.
    unready: Option<String>,
    /// It was said that nothing is started any more.
    told_to_end: bool,
    random: fastrand::Rng,
}

impl<'a> Supervisor<'a> {
    /// Nothing is started yet. `at_end` says what becomes of the group of a command that has ended.
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
                "the agent can't become the parent of the command's orphans: they are not waited for"
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
            told_to_end: false,
            random: fastrand::Rng::new(),
        }
    }

    /// Starts the command at once, and supervises until the end; says with which code.
    pub async fn supervise(&mut self) -> Result<u8, Failure> {
        if let Some(code) = self.handle(Event::GroupGone)? {
            return Ok(code);
        }
        loop {
            let over = self.over.filter(|_| self.policy.waits());
            let events = tokio::select! {
                // A signal pre-empts all else.
                biased;
                received = self.signals.recv() => self.heard(received),
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

    /// Has an event decided, and does what follows; gives the code of the end, if it has come.
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

    /// Takes the signals that have come already: whoever was told to end must start nothing more.
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

    /// Gives the terminal back to whoever comes after us.
    pub fn end(&mut self) {
        self.command.ended();
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back();
        }
    }

    /// What a signal means.
    fn heard(&mut self, received: Received) -> [Option<Event>; 2] {
        let Received { signal, by_kernel } = received;
        // A terminal tells a group so for the sake of others in it.
        let for_others = by_kernel && [CHLD, TTIN, TTOU].contains(&signal);
        let forwarded = (!for_others).then_some(Event::Signal(signal));
        // The kernel may have merged its own with one from outside.
        let of_child = if signal == CHLD { self.of_child() } else { None };
        [forwarded, of_child]
    }

    /// What has become of children.
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

    /// The end of the command, if it was waited for.
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

    /// `event`, unless the command has ended meanwhile by itself.
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

    /// Does what the policy says.
    fn act(&mut self, action: Action) -> Result<Done, Failure> {
        let mut then = None;
        match action {
            Action::Nothing => {}
            Action::Forward(signal) => self.forward(signal),
            Action::Continue | Action::Give => {
                if let (Some(terminal), Some(child)) = (&mut self.terminal, &self.child) {
                    if action == Action::Give {
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
                // It may have left its group.
                self.send(KILL);
            }
            Action::Clear => {
                // Its end was waited for just now, so that its number is its group's, or nobody's.
                self.send_to_group(KILL);
                if let Some(terminal) = &mut self.terminal {
                    // An interrupt that is typed now is for us.
                    terminal.lend_back();
                }
                self.wait(GOES);
            }
            Action::Start => {
                self.child = Some(self.start()?);
            }
            Action::Exit(code) => return Ok(Done::Over(code)),
        }
        Ok(Done::Then(then))
    }

    /// Proves that the next command can be given what stands, before this one is stopped.
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

    /// Starts the command with the set that stands now, and gives it the terminal.
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
            // What was under way is over; it is asked for again at the next pass.
            self.command.give_up();
        }
        if self.policy.is_terminated() && !std::mem::replace(&mut self.told_to_end, true) {
            tracing::info!(%signal, "asked to end: from now on the command is not started again");
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(child) = &self.child {
            told(signal, child.signal(signal));
        }
    }

    fn send_to_group(&self, signal: Signal) {
        if let Some(child) = &self.child {
            told(signal, child.signal_group(signal));
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.over = Some(clock::boot() + wait);
    }
}

/// What came of an action.
enum Done {
    Over(u8),
    /// What it has brought about at once.
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

/// Says that a signal could not be sent, unless there is nobody left to send it to.
fn told(signal: Signal, sent: io::Result<()>) {
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
