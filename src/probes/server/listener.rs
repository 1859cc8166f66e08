//! The socket that the probe server listens at.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::config::settings::ProbeAddress;

/// The connections that the kernel keeps until they are accepted; it takes `net.core.somaxconn` if
/// that is less (`listen(2)`). With a full queue it drops the first packet of a new connection,
/// whose client tries again after a second only: too late for a probe.
const BACKLOG: i32 = 4096;
/// The bytes that the kernel takes of one connection before they are read. Requests are short.
const RECEIVE_BUFFER: usize = 16 * 1024;
/// The bytes of an answer that the kernel keeps for one client: a client that does not read must not
/// cost megabytes, as it would with the automatic size (`tcp(7)`, `tcp_wmem`).
const SEND_BUFFER: usize = 64 * 1024;

/// Listens at the address of `SEGURA_LISTEN`.
pub fn open(address: ProbeAddress) -> std::io::Result<OwnedFd> {
    match address {
        ProbeAddress::One(address) => listening(address, Families::One),
        ProbeAddress::Every { port } => {
            let both = listening(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), Families::Both);
            match both {
                // The kernel has no IPv6, or no address of it (`ip(7)`, `ipv6(7)`).
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT) => {
                    listening(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), Families::One)
                }
                other => other,
            }
        }
    }
    .map_err(Into::into)
}

/// The families of addresses that a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    /// The family of its address; with `[::]` as `net.ipv6.bindv6only` says (`ipv6(7)`).
    One,
    /// IPv6 and IPv4.
    Both,
}

fn listening(address: SocketAddr, families: Families) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A container that is started again listens at once (`socket(7)`, `SO_REUSEADDR`).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if families == Families::Both {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Connections inherit both.
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
