//! What the admin routes change of a vault that runs.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::{
    options::{GetProvision, Options},
    state::State,
    store::{authorization::Resource, date},
};

/// What changes of an authorization. What is left out stays; an empty text or list lifts a limit.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    enabled: Option<bool>,
    client_secret: Option<String>,
    expiration_date: Option<String>,
    allowed_ips: Option<Vec<String>>,
    allowed_referers: Option<Vec<String>>,
    fingerprint: Option<String>,
    resources: Option<BTreeSet<Resource>>,
    encryption: Option<bool>,
}

/// What changes of the vault. What is left out stays.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    token_ttl_ms: Option<u64>,
    clock_shift: Option<i64>,
    ttl: Option<String>,
    registration: Option<bool>,
    pam_access: Option<bool>,
    pam_write: Option<bool>,
    get_provision: Option<GetProvision>,
    get_provisions: Option<bool>,
}

impl Change {
    /// Changes the authorization with this client id, or the first one.
    pub fn apply(self, state: &mut State, client_id: Option<&str>) -> Result<(), String> {
        let ends = match self.expiration_date.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(stated) => {
                let date = date::spelled(stated).ok_or("expiration_date must be Y-m-d H:i:s")?;
                Some(Some(date))
            }
        };
        if self.encryption == Some(true) {
            state.ensure_sealer();
        }
        let mut known = state.store.authorizations.iter_mut();
        let authorization = known
            .find(|known| client_id.is_none_or(|id| known.client_id == id))
            .ok_or("there is no such authorization")?;
        if let Some(ends) = ends {
            authorization.expiration_date = ends;
        }
        if let Some(fingerprint) = self.fingerprint {
            authorization.fingerprint = Some(fingerprint).filter(|text| !text.is_empty());
        }
        replace(&mut authorization.enabled, self.enabled);
        replace(&mut authorization.client_secret, self.client_secret);
        replace(&mut authorization.allowed_ips, self.allowed_ips);
        replace(&mut authorization.allowed_referers, self.allowed_referers);
        replace(&mut authorization.resources, self.resources);
        replace(&mut authorization.encryption, self.encryption);
        Ok(())
    }
}

impl Settings {
    /// Changes how the vault behaves.
    pub fn apply(self, options: &mut Options) {
        replace(&mut options.token_ttl, self.token_ttl_ms.map(Duration::from_millis));
        replace(&mut options.clock_shift, self.clock_shift);
        replace(&mut options.registration, self.registration);
        replace(&mut options.pam_access, self.pam_access);
        replace(&mut options.pam_write, self.pam_write);
        replace(&mut options.get_provision, self.get_provision);
        replace(&mut options.get_provisions, self.get_provisions);
        if let Some(ttl) = self.ttl {
            options.ttl = Some(ttl).filter(|text| !text.is_empty());
        }
    }
}

fn replace<T>(field: &mut T, stated: Option<T>) {
    if let Some(value) = stated {
        *field = value;
    }
}
