//! Resolves host names: by the hosts file first, then by the system's DNS servers, and no others.
//!
//! hickory by itself asks DNS for names that the hosts file holds, and reqwest's resolver falls
//! back to a public server if `/etc/resolv.conf` can't be read; this one fails instead. glibc's
//! resolver does not fit a static binary: it loads the image's NSS libraries (`nsswitch.conf(5)`),
//! and needs a thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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
    // An image without a hosts file counts as one with an empty file.
    let hosts = Hosts::from_system().unwrap_or_default();
    let found = in_hosts(&hosts, name);
    if !found.is_empty() {
        return Ok(found);
    }
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| Unresolved(format!("/etc/resolv.conf: {error}")))?;
    let answer = resolver.lookup_ip(name).await.map_err(|error| {
        Unresolved(if error.is_no_records_found() {
            "DNS has no address for it".to_owned()
        } else {
            error.to_string()
        })
    })?;
    Ok(answer.iter().collect())
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
