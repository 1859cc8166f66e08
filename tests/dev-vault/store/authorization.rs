//! A client's right to an application, and the doors a request has to come through.

use std::{collections::BTreeSet, net::IpAddr};

use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde::{Deserialize, Serialize};

/// A client's right to an application.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The vault's number for it.
    pub id: u32,
    /// The application it opens.
    pub application: u32,
    /// Half of the OAuth pair.
    pub client_id: String,
    /// The other half.
    pub client_secret: String,
    /// Where it is used; for reports.
    pub system: String,
    /// Where it is used; for reports.
    pub environment: String,
    /// Found by this instead of system and environment, where it is set.
    pub unique_key: Option<String>,
    /// A disabled authorization gets tokens, and nothing for them.
    pub enabled: bool,
    /// When it ends, as the vault spells dates.
    pub expiration_date: Option<String>,
    /// The addresses it allows, with `*` for any part; empty allows all.
    pub allowed_ips: Vec<String>,
    /// The `Referer`s it allows; empty allows all.
    pub allowed_referers: Vec<String>,
    /// The client certificate it wants: SHA-256 or SHA-1, in hexadecimal digits.
    pub fingerprint: Option<String>,
    /// What it may be used for; empty allows all.
    pub resources: BTreeSet<Resource>,
    /// Whether sensitive values leave encrypted.
    pub encryption: bool,
    /// The numbers of the secrets it is linked to.
    pub secrets: BTreeSet<String>,
}

/// What an authorization may be used for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
pub enum Resource {
    /// Applications and provisioning.
    Application,
    /// Variables of a pipeline.
    #[serde(rename = "CI/CD")]
    #[value(name = "ci-cd")]
    Pipeline,
    /// Secrets one by one.
    #[serde(rename = "Secrets Management", alias = "Secret Management")]
    #[value(name = "secrets-management")]
    Secrets,
}

/// How a request has come.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// From where.
    pub ip: IpAddr,
    /// Its `Referer`.
    pub referer: Option<&'a str>,
    /// The client's certificate, as DER.
    pub certificate: Option<&'a [u8]>,
    /// Its resource; none if no resource covers it.
    pub resource: Option<Resource>,
}

impl Authorization {
    /// Whether it is neither disabled nor over.
    pub fn is_active(&self, now: &str) -> bool {
        self.enabled && self.expiration_date.as_deref().is_none_or(|end| now < end)
    }

    /// Whether a request comes through every door.
    pub fn admits(&self, visit: &Visit<'_>) -> bool {
        let address = visit.ip.to_canonical().to_string();
        let allowed = &self.allowed_ips;
        let referers = &self.allowed_referers;
        (allowed.is_empty() || allowed.iter().any(|pattern| like(pattern.trim(), &address)))
            && (referers.is_empty()
                || referers.iter().any(|one| Some(one.as_str()) == visit.referer))
            && self.fingerprint.as_deref().is_none_or(|wanted| shows(wanted, visit.certificate))
            && (self.resources.is_empty()
                || visit.resource.is_none_or(|resource| self.resources.contains(&resource)))
    }
}

impl Resource {
    /// A resource by its name in a request.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "application" => Some(Self::Application),
            "ci/cd" => Some(Self::Pipeline),
            "secret management" | "secrets management" => Some(Self::Secrets),
            _ => None,
        }
    }
}

/// The SHA-256 fingerprint of a certificate, as vaults and tools show it.
pub fn fingerprint(certificate: &[u8]) -> String {
    hash(&SHA256, certificate)
}

/// Whether a certificate has this fingerprint; colons and the case of letters don't count.
fn shows(wanted: &str, certificate: Option<&[u8]>) -> bool {
    let digits = wanted.chars().filter(char::is_ascii_hexdigit);
    let wanted: String = digits.map(|digit| digit.to_ascii_lowercase()).collect();
    certificate.is_some_and(|certificate| {
        [&SHA256, &SHA1_FOR_LEGACY_USE_ONLY]
            .into_iter()
            .any(|algorithm| hash(algorithm, certificate) == wanted)
    })
}

fn hash(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    digest(algorithm, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text matches a pattern, in which `*` is any text.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            (0..=left.len()).filter_map(|at| left.get(at..)).any(|tail| like(rest, tail))
        }),
    }
}
