//! Settings of fetching: the pod, the identities, the requests and the interval.

use std::time::Duration;

use super::Reader;
use super::parse::{self, Shape};
use super::raw::{Raw, RawVariable};
use crate::config::settings::{
    FetchMode, OnAbsent, Refresh, RenewInterval, StartupTimeout, Wanted,
};
use crate::inputs::pod::{self, Given, Mounted};
use crate::model::{PodIdentity, SecretName};

impl Reader {
    pub(super) fn pod(&mut self, raw: &Raw, mounted: Mounted) -> Option<PodIdentity> {
        let first = |one: &RawVariable, other: &RawVariable| {
            one.value.as_ref().or(other.value.as_ref()).cloned()
        };
        let given = Given {
            name: first(&raw.segura_pod_name, &raw.pod_name),
            uid: first(&raw.segura_pod_uid, &raw.pod_uid),
            namespace: first(&raw.segura_namespace, &raw.pod_namespace),
            deploy: first(&raw.segura_deploy, &raw.deploy_name),
            hostname: raw.hostname.value.clone(),
        };
        let Some(identified) = pod::identify(given, mounted) else {
            self.problem(raw.segura_pod_name.name, "must be set from the pod's metadata.name");
            return None;
        };
        if self.deprovisions && identified.merely_hostname {
            let remedy = "must be set for deprovisioning: HOSTNAME alone is not certain to be the pod's name";
            self.problem(raw.segura_pod_name.name, remedy);
        }
        let provisions = source(raw) == Ok(FetchMode::Provision) || self.deprovisions;
        if provisions {
            self.warnings.extend(identified.warnings);
        }
        if provisions && identified.pod.namespace.is_none() {
            self.warnings.push(
                "the pod's namespace is unknown and is not sent; set SEGURA_NAMESPACE from metadata.namespace"
                    .to_owned(),
            );
        }
        Some(identified.pod)
    }

    pub(super) fn wanted(&mut self, raw: &Raw) -> Option<Wanted> {
        let identities = raw.segura_identity.as_deref().map(identities);
        let identities = match identities.transpose() {
            Ok(identities) => identities.unwrap_or_default(),
            Err(remedy) => {
                self.problem(raw.segura_identity.name, remedy);
                Vec::new()
            }
        };
        let source = match source(raw) {
            Ok(source) => Some(source),
            Err(shape) => {
                self.wrong(raw.segura_source.name, shape);
                None
            }
        };
        if self.deprovisions && source.is_some_and(|source| source != FetchMode::Provision) {
            let remedy = "must not be set: only SEGURA_SOURCE=provision provisions secrets";
            self.problem(raw.segura_deprovision.name, remedy);
        }
        if source == Some(FetchMode::Provision) && !raw.segura_identity.is_set() {
            self.problem(raw.segura_identity.name, "must be set for SEGURA_SOURCE=provision");
        }
        let refresh = self.text(&raw.segura_refresh, |text| match text {
            "auto" => Ok(Refresh::Auto),
            "get" => Ok(Refresh::Get),
            "application" => Ok(Refresh::Application),
            "secret" => Ok(Refresh::Secret),
            "post" => Ok(Refresh::Post),
            _ => Err("`auto`, `get`, `application`, `secret` or `post`"),
        });
        Some(Wanted { source: source?, refresh: refresh.unwrap_or(Refresh::Auto), identities })
    }

    pub(super) fn renew(&mut self, raw: &Raw) -> RenewInterval {
        let read = self.text(&raw.segura_renew_interval, |text| match text {
            "auto" => Ok(RenewInterval::Auto),
            "off" => Ok(RenewInterval::Off),
            _ => parse::duration(text)
                .ok()
                .filter(|interval| *interval >= Duration::from_secs(1))
                .map(RenewInterval::Every)
                .ok_or("`auto`, `off` or a duration of 1s or more, such as 5m"),
        });
        read.unwrap_or(RenewInterval::Auto)
    }

    pub(super) fn on_absent(&mut self, raw: &Raw) -> OnAbsent {
        let read = self.text(&raw.segura_on_absent, |text| match text {
            "keep" => Ok(OnAbsent::Keep),
            "remove" => Ok(OnAbsent::Remove),
            _ => Err("`keep` or `remove`"),
        });
        read.unwrap_or(OnAbsent::Keep)
    }

    pub(super) fn startup_timeout(&mut self, raw: &Raw) -> StartupTimeout {
        self.text(&raw.segura_startup_timeout, parse::startup_timeout)
            .unwrap_or(StartupTimeout::After(Duration::from_secs(120)))
    }
}

fn identities(text: &str) -> Result<Vec<SecretName>, String> {
    let mut named: Vec<SecretName> = Vec::new();
    for (identity, n) in text.split(',').map(str::trim).zip(1..) {
        let identity = SecretName::new(identity)
            .map_err(|problem| format!("identity number {n} {problem}"))?;
        if named.contains(&identity) {
            return Err(format!("identity number {n} is listed before"));
        }
        named.push(identity);
    }
    Ok(named)
}

fn source(raw: &Raw) -> Result<FetchMode, Shape> {
    match raw.segura_source.as_deref() {
        Some("provision") => Ok(FetchMode::Provision),
        Some("application") => Ok(FetchMode::Application),
        Some("secret") => Ok(FetchMode::Secret),
        Some(_) => Err("`provision`, `application` or `secret`"),
        None if raw.segura_identity.is_set() => Ok(FetchMode::Provision),
        None => Ok(FetchMode::Application),
    }
}
