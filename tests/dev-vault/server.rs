//! The listener and its connections, on a thread of their own.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc::UnboundedReceiver,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    exchange::{Connection, exchange},
    socket::Socket,
    state::State,
};

/// A peer that doesn't finish its handshake must not be waited for for ever.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// The state, shared between the server and the test that watches it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Shares a state.
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state. A panic elsewhere doesn't make it unusable.
    pub fn lock(&self) -> Locked<'_> {
        Locked(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state, under its lock. Changes are stored when the lock is released.
pub struct Locked<'a>(MutexGuard<'a, State>);

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // The state remembers a failure, and shows it.
        drop(self.0.save());
    }
}

/// Orders to a server. Each is acknowledged when it is done.
pub enum Order {
    /// Close the listener and every connection.
    Down(mpsc::Sender<io::Result<()>>),
    /// Listen again, where it was.
    Up(mpsc::Sender<io::Result<()>>),
    /// Close every connection, and go on listening.
    Disconnect(mpsc::Sender<io::Result<()>>),
}

/// Serves until the last sender of orders is gone.
pub async fn serve(
    listener: StdListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Shared,
    mut orders: UnboundedReceiver<Order>,
) -> io::Result<()> {
    let mut listener = Some(TcpListener::from_std(listener)?);
    let mut reserved = None;
    let mut connections = JoinSet::new();
    let rotation = tokio::spawn(rotate(shared.clone()));
    loop {
        // Every arm is cancel-safe.
        tokio::select! {
            (tcp, peer) = accept(listener.as_ref()) => {
                let number = {
                    let mut state = shared.lock();
                    state.connections += 1;
                    state.connections
                };
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(connection(tcp, peer, number, tls, shared));
            }
            Some(_) = connections.join_next() => {}
            order = orders.recv() => {
                let (done, ack) = match order {
                    None => break,
                    Some(Order::Down(ack)) => {
                        listener = None;
                        connections.shutdown().await;
                        reserved = reserve(address).await;
                        (Ok(()), ack)
                    }
                    Some(Order::Up(ack)) => (up(&mut listener, reserved.take(), address).await, ack),
                    Some(Order::Disconnect(ack)) => {
                        connections.shutdown().await;
                        (Ok(()), ack)
                    }
                };
                // The caller may have stopped waiting.
                drop(ack.send(done));
            }
        }
    }
    rotation.abort();
    connections.shutdown().await;
    Ok(())
}

/// Reserves the port while no server listens there, since a connection could take it as its own port.
async fn reserve(address: SocketAddr) -> Option<TcpSocket> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address).map(|()| socket)
    };
    for _ in 0..100 {
        if let Ok(socket) = bind() {
            return Some(socket);
        }
        // A process that is just being started holds every descriptor for a moment.
        sleep(Duration::from_millis(5)).await;
    }
    None
}

async fn up(
    listener: &mut Option<TcpListener>,
    mut reserved: Option<TcpSocket>,
    address: SocketAddr,
) -> io::Result<()> {
    let mut tries = 0..100;
    while listener.is_none() {
        let listening = match reserved.take() {
            Some(socket) => socket.listen(1_024),
            None => TcpListener::bind(address).await,
        };
        match listening {
            Ok(listening) => *listener = Some(listening),
            Err(error) if tries.next().is_none() => return Err(error),
            // A process that is just being started may hold what listened there meanwhile.
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    loop {
        match listener {
            None => std::future::pending().await,
            Some(listener) => {
                if let Ok(accepted) = listener.accept().await {
                    return accepted;
                }
                // Out of descriptors: some connection has to end first.
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Changes passwords at every interval that the options name when the server starts.
async fn rotate(shared: Shared) {
    let Some(every) = shared.lock().options.rotate else {
        return;
    };
    let mut beat = interval_at(Instant::now() + every, every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beat.tick().await;
        shared.lock().store.rotate();
    }
}

async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    number: usize,
    tls: Option<TlsAcceptor>,
    shared: Shared,
) {
    // Nagle's delay would blur every measurement of latency.
    drop(tcp.set_nodelay(true));
    let (socket, end) = Socket::new(tcp);
    let mut connection = Connection { number, peer, shared, end, certificate: None };
    let Some(tls) = tls else {
        return http(socket, connection).await;
    };
    let failed = match timeout(HANDSHAKE, tls.accept(socket)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            connection.certificate = shown.map(|certificate| certificate.to_vec());
            return http(stream, connection).await;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "handshake timed out".to_owned(),
    };
    connection.shared.lock().tls_errors.push(failed);
}

async fn http<S>(stream: S, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| exchange(&connection, request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is the peer's doing, or a fault's; both are known elsewhere.
    drop(served.await);
}
