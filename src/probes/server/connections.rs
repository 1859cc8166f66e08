//! The connections of the probe server, whose number, memory and time are bounded.
//!
//! A client may open connections without end, keep them open, send no request or never read an
//! answer. So a new connection is always accepted, and one more than there may be
//! closes the oldest one of the peer that has the most. A probe sends its request as soon as it is
//! connected: it is answered long before its turn to be closed comes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use std::{io, mem};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{Errno, read};
use rustix::net::{
    SendFlags, Shutdown, SocketAddrAny, SocketFlags, acceptfrom_with, send, shutdown, sockopt,
};
use tokio::time::Instant;

use super::http::{Arrival, Asked, RequestHead};

/// The time in which a request must arrive.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The longest life of a connection, the reading of the answer included.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Connections with a long answer that may not be read yet: each costs memory.
const LONG_ANSWERS: usize = 16;
/// An answer beyond this is long, in bytes; those to probes are shorter.
const LONG: usize = 4 * 1024;
/// Bytes that a client may send after its request. It gets its answer before it is cut off.
const IGNORED: usize = 64 * 1024;
/// The most that one turn does: the agent has other work.
const EVENTS: usize = 64;
/// The wait after a failed accept, if there is no connection to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The number of the listener among the events; connections have those from 1.
const LISTENER: u64 = 0;

/// The answers of the server, written as HTTP.
pub trait Answers {
    /// Answers a question.
    fn answer(&self, asked: &Asked) -> Vec<u8>;

    /// Refuses a request with this status.
    fn refuse(&self, status: u16) -> Vec<u8>;

    /// True if the answer takes long to make: one is made for all that ask in the same turn.
    fn is_shared(&self, asked: &Asked) -> bool;
}

/// The open connections, and the socket that they come from.
#[derive(Debug)]
pub struct Connections {
    listener: OwnedFd,
    /// By number: the oldest first.
    open: BTreeMap<u64, Connection>,
    /// The connections of each peer.
    peers: BTreeMap<IpAddr, usize>,
    /// The connections with a long answer, the oldest first.
    long: Vec<u64>,
    /// The connections that wait for the shared answer of this turn, by what they want.
    waiting: Vec<(u64, Asked)>,
    most: usize,
    next: u64,
    /// The end of a wait after a failed accept.
    pause: Pause,
}

/// A wait after a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    None,
    Until(Instant),
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    peer: IpAddr,
    accepted: Instant,
    stage: Stage,
    /// The events that the kernel was asked for.
    awaited: EventFlags,
}

#[derive(Debug)]
enum Stage {
    /// The request arrives.
    Asking(RequestHead),
    /// The shared answer is made in this turn.
    Waiting,
    /// The answer is taken.
    Taking { answer: Rc<[u8]>, taken: usize },
    /// The answer is taken by the kernel, and the client has not closed yet. Closing before it
    /// would have a client that still sends lose the answer (RFC 9112, section 9.6).
    Ending { ignored: usize },
}

/// The way that a connection goes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Stays,
    /// It is closed in order.
    Closes,
    /// It is cut off: the kernel forgets what it keeps for it.
    Resets,
}

/// The result of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work, and there may be more.
    Worked,
    /// There was none.
    Idle,
}

impl Connections {
    /// Connections of `listener`, at most so many.
    pub fn new(listener: OwnedFd, most: usize) -> Self {
        Self {
            listener,
            open: BTreeMap::new(),
            peers: BTreeMap::new(),
            long: Vec::new(),
            waiting: Vec::new(),
            most: most.max(1),
            next: LISTENER + 1,
            pause: Pause::None,
        }
    }

    /// Has `epoll` report what there is to do.
    pub fn register(&self, epoll: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(())
    }

    /// Does what there is to do, and not more than is good for the rest of the agent.
    pub fn turn(&mut self, epoll: BorrowedFd<'_>, now: Instant, answers: &impl Answers) -> Turn {
        let mut events =
            [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS];
        let reported = match epoll::wait(epoll, &mut events[..], Some(&Timespec::default())) {
            Ok(count) => count,
            // A signal came; the next turn looks again.
            Err(Errno::INTR) => return Turn::Worked,
            Err(_) => return Turn::Idle,
        };
        for event in events.iter().take(reported) {
            match event.data.u64() {
                LISTENER => self.accept_some(epoll, now, answers),
                number => self.step(epoll, number, answers),
            }
        }
        self.share(epoll, answers);
        if reported == 0 { Turn::Idle } else { Turn::Worked }
    }

    /// The time at which [`expire`](Self::expire) has something to do.
    pub fn due(&self) -> Option<Instant> {
        let ends = self.open.values().map(Connection::end);
        let pause = match self.pause {
            Pause::Until(end) => Some(end),
            Pause::None => None,
        };
        ends.chain(pause).min()
    }

    /// Closes the connections whose time is over, and goes on accepting after a pause.
    pub fn expire(&mut self, epoll: BorrowedFd<'_>, now: Instant) {
        let over = self.open.iter().filter(|(_, connection)| connection.end() <= now);
        for number in over.map(|(number, _)| *number).collect::<Vec<_>>() {
            let asking = self.open.get(&number).is_some_and(Connection::is_asking);
            self.remove(number, if asking { Course::Closes } else { Course::Resets });
        }
        if matches!(self.pause, Pause::Until(end) if end <= now) {
            self.pause = Pause::None;
            self.listen(epoll, EventFlags::IN);
        }
    }

    fn listen(&self, epoll: BorrowedFd<'_>, flags: EventFlags) {
        // The listener was registered before, and nothing else fails.
        epoll::modify(epoll, &self.listener, EventData::new_u64(LISTENER), flags).ok();
    }

    fn accept_some(&mut self, epoll: BorrowedFd<'_>, now: Instant, answers: &impl Answers) {
        for _ in 0..EVENTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&self.listener, flags) {
                Ok((socket, address)) => self.admit(epoll, socket, address, now, answers),
                Err(Errno::AGAIN) => return,
                // Its client has gone, or the network failed it (`accept(2)`, "Error handling").
                Err(
                    Errno::CONNABORTED
                    | Errno::INTR
                    | Errno::NETDOWN
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::NETUNREACH,
                ) => {}
                // Without a free descriptor or memory (`accept(2)`: EMFILE, ENFILE, ENOBUFS, ENOMEM)
                // the connection stays in the queue: one of ours makes room for it.
                Err(_) => {
                    if !self.close_oldest() {
                        self.pause = Pause::Until(now + ACCEPT_PAUSE);
                        self.listen(epoll, EventFlags::empty());
                        return;
                    }
                }
            }
        }
    }

    fn admit(
        &mut self,
        epoll: BorrowedFd<'_>,
        socket: OwnedFd,
        address: Option<SocketAddrAny>,
        now: Instant,
        answers: &impl Answers,
    ) {
        if self.open.len() >= self.most {
            self.close_oldest();
        }
        let address = address.and_then(|address| SocketAddr::try_from(address).ok());
        let peer = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip().to_canonical());
        let number = self.next;
        self.next += 1;
        let stage = Stage::Asking(RequestHead::default());
        let awaited = EventFlags::empty();
        let connection = Connection { socket, peer, accepted: now, stage, awaited };
        self.open.insert(number, connection);
        *self.peers.entry(peer).or_default() += 1;
        // Mostly the request is there already, or the client has gone.
        self.step(epoll, number, answers);
    }

    /// Does the next step of a connection.
    fn step(&mut self, epoll: BorrowedFd<'_>, number: u64, answers: &impl Answers) {
        // An event of this turn may be of a connection that another event has closed.
        let Some(connection) = self.open.get_mut(&number) else { return };
        let course = match &mut connection.stage {
            Stage::Asking(head) => match arrive(&connection.socket, head) {
                Err(course) => course,
                Ok(Arrival::Partial) => Course::Stays,
                Ok(Arrival::Refused(status)) => connection.give(answers.refuse(status).into()),
                Ok(Arrival::Asked(asked)) if answers.is_shared(&asked) => {
                    connection.stage = Stage::Waiting;
                    self.waiting.push((number, asked));
                    return;
                }
                Ok(Arrival::Asked(asked)) => connection.give(answers.answer(&asked).into()),
            },
            Stage::Waiting => return,
            Stage::Taking { .. } => connection.hand_over(),
            Stage::Ending { ignored } => ignore(&connection.socket, ignored),
        };
        self.settle(epoll, number, course);
    }

    /// Keeps a connection, or removes it.
    fn settle(&mut self, epoll: BorrowedFd<'_>, number: u64, course: Course) {
        let stays = course == Course::Stays;
        let waits = stays && self.open.get_mut(&number).is_some_and(|it| it.wait(epoll, number));
        if !waits {
            self.remove(number, course);
        }
    }

    /// Makes the shared answer once, and gives it to all that wait for it.
    fn share(&mut self, epoll: BorrowedFd<'_>, answers: &impl Answers) {
        let mut made: Vec<(Asked, Rc<[u8]>)> = Vec::new();
        for (number, asked) in mem::take(&mut self.waiting) {
            // A younger one may have closed it.
            let Some(connection) = self.open.get_mut(&number) else { continue };
            let known = made.iter().find(|(known, _)| *known == asked);
            let answer = known.map(|(_, answer)| Rc::clone(answer)).unwrap_or_else(|| {
                let answer: Rc<[u8]> = answers.answer(&asked).into();
                made.push((asked, Rc::clone(&answer)));
                answer
            });
            let is_long = answer.len() > LONG;
            let course = connection.give(answer);
            if is_long {
                self.long.push(number);
            }
            self.settle(epoll, number, course);
            if self.long.len() > LONG_ANSWERS {
                self.close_oldest_long();
            }
        }
    }

    /// Closes the oldest connection of the peer that has the most; false if there is none.
    fn close_oldest(&mut self) -> bool {
        let most = self.peers.values().copied().max().unwrap_or_default();
        let mut open = self.open.iter();
        let oldest = open.find(|(_, connection)| self.peers.get(&connection.peer) == Some(&most));
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        self.remove(number, Course::Resets);
        true
    }

    /// The same, among the connections with a long answer.
    fn close_oldest_long(&mut self) {
        let peer = |number: &u64| self.open.get(number).map(|connection| connection.peer);
        let mut counts: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        for number in &self.long {
            *counts.entry(peer(number)).or_default() += 1;
        }
        // The least of equal numbers is the oldest.
        let oldest = self.long.iter().max_by_key(|number| {
            (counts.get(&peer(number)).copied().unwrap_or_default(), Reverse(**number))
        });
        if let Some(number) = oldest.copied() {
            self.remove(number, Course::Resets);
        }
    }

    fn remove(&mut self, number: u64, course: Course) {
        let Some(connection) = self.open.remove(&number) else { return };
        self.long.retain(|long| *long != number);
        if let Some(count) = self.peers.get_mut(&connection.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&connection.peer);
            }
        }
        if course == Course::Resets {
            // Close then drops what the client has not taken, in place of keeping it for minutes
            // (`socket(7)`, `SO_LINGER`; `tcp(7)`, `tcp_orphan_retries`).
            sockopt::set_socket_linger(&connection.socket, Some(Duration::ZERO)).ok();
        }
    }
}

impl Connection {
    /// The end of its time.
    fn end(&self) -> Instant {
        self.accepted + if self.is_asking() { REQUEST_LIMIT } else { CONNECTION_LIMIT }
    }

    fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// Begins to send the answer.
    fn give(&mut self, answer: Rc<[u8]>) -> Course {
        self.stage = Stage::Taking { answer, taken: 0 };
        self.hand_over()
    }

    /// Sends as much of the answer as the kernel takes.
    fn hand_over(&mut self) -> Course {
        let Stage::Taking { answer, taken } = &mut self.stage else { return Course::Stays };
        while let Some(rest) = answer.get(*taken..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => *taken += sent,
                Err(Errno::AGAIN) => return Course::Stays,
                Err(Errno::INTR) => {}
                Err(_) => return Course::Resets,
            }
        }
        if shutdown(&self.socket, Shutdown::Write).is_err() {
            return Course::Resets;
        }
        let mut ignored = 0;
        let course = ignore(&self.socket, &mut ignored);
        self.stage = Stage::Ending { ignored };
        course
    }

    /// Asks the kernel for the events of its stage; false if it can't be watched.
    fn wait(&mut self, epoll: BorrowedFd<'_>, number: u64) -> bool {
        let wanted = match self.stage {
            Stage::Taking { .. } => EventFlags::OUT,
            Stage::Asking(_) | Stage::Waiting | Stage::Ending { .. } => EventFlags::IN,
        };
        let (data, before) = (EventData::new_u64(number), mem::replace(&mut self.awaited, wanted));
        let asked = if before == wanted {
            Ok(())
        } else if before.is_empty() {
            epoll::add(epoll, self.socket.as_fd(), data, wanted)
        } else {
            epoll::modify(epoll, self.socket.as_fd(), data, wanted)
        };
        asked.is_ok()
    }
}

/// Reads what has arrived of a request; an error is the end of its connection.
fn arrive(socket: &OwnedFd, head: &mut RequestHead) -> Result<Arrival, Course> {
    let mut bytes = [0; 4096];
    loop {
        match read(socket, &mut bytes[..]) {
            Ok(0) => return Err(Course::Closes),
            Ok(count) => match head.take(bytes.get(..count).unwrap_or_default()) {
                // More than this at once would be no request of a probe.
                Arrival::Partial if count < bytes.len() => return Ok(Arrival::Partial),
                Arrival::Partial => {}
                arrival @ (Arrival::Asked(_) | Arrival::Refused(_)) => return Ok(arrival),
            },
            Err(Errno::AGAIN) => return Ok(Arrival::Partial),
            Err(Errno::INTR) => {}
            Err(_) => return Err(Course::Resets),
        }
    }
}

/// Reads and drops what a client sends after its request.
fn ignore(socket: &OwnedFd, ignored: &mut usize) -> Course {
    let mut bytes = [0; 4096];
    loop {
        match read(socket, &mut bytes[..]) {
            Ok(0) => return Course::Closes,
            Ok(count) => *ignored += count,
            Err(Errno::AGAIN) => return Course::Stays,
            Err(Errno::INTR) => {}
            Err(_) => return Course::Resets,
        }
        if *ignored > IGNORED {
            return Course::Resets;
        }
    }
}
