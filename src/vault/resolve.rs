//! Resolves host names: by the hosts file first, then by the system's DNS servers, and no others.
//!
//! hickory by itself asks DNS for names that the hosts file holds, and reqwest's resolver falls
//! back to a public server if `/etc/resolv.conf` can't be read; this one fails instead. glibc's
//! resolver does not fit a static binary: it loads the image's NSS libraries (`nsswitch.conf(5)`),
//! and needs a thread.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::os::opened::{self, FileError, LONGEST_INPUT};
use crate::os::sandbox;

/// `hosts(5)`.
const HOSTS: &str = "/etc/hosts";
/// `resolv.conf(5)`.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The files that each look-up reads: the first one may be missing.
pub const FILES: [&str; 2] = [HOSTS, RESOLV_CONF];

/// A resolver without a cache: look-ups are rare, and both files may change.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

/// The host name could not be resolved; differs from a refused connection.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the host name: {0}")]
pub struct Unresolved(String);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = resolve(&name).await?;
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, Unresolved> {
    let (hosts, unread) = hosts();
    let found = in_hosts(&hosts, name);
    if !found.is_empty() {
        return Ok(found);
    }
    by_dns(name).await.map_err(|Unresolved(why)| match unread {
        Some(unread) => Unresolved(format!("{why}; {HOSTS} is not read: {unread}")),
        None => Unresolved(why),
    })
}

async fn by_dns(name: &str) -> Result<Vec<IpAddr>, Unresolved> {
    let resolver = resolver()?;
    let answer = resolver.lookup_ip(name).await.map_err(|error| {
        Unresolved(if error.is_no_records_found() {
            "DNS has no address for it".to_owned()
        } else {
            error.to_string()
        })
    })?;
    Ok(answer.iter().collect())
}

/// Reads the hosts file; the error tells why one that is there is not read. An image without one
/// counts as one with an empty file.
fn hosts() -> (Hosts, Option<FileError>) {
    let mut hosts = Hosts::default();
    match opened::read_input(Path::new(HOSTS), LONGEST_INPUT) {
        Ok(text) => match hosts.read_hosts_conf(text.expose().as_slice()) {
            Ok(()) => (hosts, None),
            Err(_) => (Hosts::default(), None),
        },
        Err(error) => (hosts, Some(error).filter(|error| error.is_unfit())),
    }
}

/// Makes a resolver by the servers of the system, which reads no file by itself.
fn resolver() -> Result<TokioResolver, Unresolved> {
    let failed = |error: &dyn fmt::Display| Unresolved(format!("{RESOLV_CONF}: {error}"));
    let text = opened::read_input(Path::new(RESOLV_CONF), LONGEST_INPUT)
        .map_err(|error| failed(&sandbox::unread(Path::new(RESOLV_CONF), error)))?;
    let (config, mut options) =
        parse_resolv_conf(text.expose().as_slice()).map_err(|error| failed(&error))?;
    options.use_hosts_file = ResolveHosts::Never;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| failed(&error))
}

fn in_hosts(hosts: &Hosts, name: &str) -> Vec<IpAddr> {
    let Ok(host) = DnsName::from_str_relaxed(name) else {
        return Vec::new();
    };
    let types = [RecordType::A, RecordType::AAAA];
    let found: Vec<IpAddr> = types
        .into_iter()
        .filter_map(|record| hosts.lookup_static_host(&Query::query(host.clone(), record)))
        .flat_map(|lookup| {
            let records = lookup.answers().iter();
            records.filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect();
    // "localhost" is this machine even if no file says so (RFC 6761, section 6.3).
    if found.is_empty() && name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_hosts_file_need_no_dns() {
        let mut hosts = Hosts::default();
        hosts
            .read_hosts_conf("10.1.2.3 vault.example.com vault # dev\nfd00::1 vault\n".as_bytes())
            .unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(in_hosts(&hosts, "vault.example.com"), [ip("10.1.2.3")]);
        assert_eq!(in_hosts(&hosts, "VAULT"), [ip("10.1.2.3"), ip("fd00::1")]);
        assert_eq!(in_hosts(&hosts, "localhost"), [ip("127.0.0.1"), ip("::1")]);
        assert!(in_hosts(&hosts, "other").is_empty());
    }
}
