//! What the vault holds: one tenant's applications, their authorizations and their secrets.

pub mod authorization;
pub mod data;
pub mod date;
pub mod demo;
pub mod pam;
pub mod secret;
pub mod settings;

use serde::{Deserialize, Serialize};

use self::{
    authorization::Authorization,
    secret::{Pod, Secret},
};
use super::options::{Encryption, Options};

/// Everything that is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Never empty: the first is the one that `Options` describe.
    pub applications: Vec<Application>,
    /// Never empty: the first is the one that `Options` describe.
    pub authorizations: Vec<Authorization>,
    /// In the order they were made.
    pub secrets: Vec<Secret>,
    /// Devices and credentials.
    pub pam: pam::Pam,
    /// How many accounts provisioning has ever made.
    pub accounts_made: usize,
    next_id: u32,
}

/// An application, which secrets belong to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The vault's number for it.
    pub id: u32,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// `[""]` where there are none, as the documents show.
    pub tags: Vec<String>,
}

/// How a request names a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// By identity.
    Identity(String),
    /// By the vault's number.
    Id(String),
    /// Not at all: the application's first.
    First,
}

impl Store {
    /// A tenant with one application and one authorization, and the demo secrets if wanted.
    pub fn new(options: &Options) -> Self {
        let mut store = Self {
            applications: vec![Application {
                id: 4,
                name: "postman".to_owned(),
                description: None,
                tags: vec![String::new()],
            }],
            authorizations: vec![Authorization {
                id: 6,
                application: 4,
                client_id: token(16),
                client_secret: token(32),
                system: "back".to_owned(),
                environment: "test".to_owned(),
                enabled: true,
                ..Authorization::default()
            }],
            secrets: Vec::new(),
            pam: pam::Pam::default(),
            accounts_made: 0,
            next_id: 213,
        };
        if options.demo_secrets {
            for secret in demo::secrets(4) {
                store.add(6, secret);
            }
        }
        store.direct(options);
        store
    }

    /// Gives the first authorization the options of a start; the rest stays as it is.
    pub fn direct(&mut self, options: &Options) {
        let primary = self.primary();
        if let Some(id) = &options.client_id {
            primary.client_id.clone_from(id);
        }
        if let Some(secret) = &options.client_secret {
            primary.client_secret.clone_from(secret);
        }
        primary.encryption |= options.encryption != Encryption::Off;
        self.set_doors(options);
    }

    /// Sets up the doors of the first authorization that the options name; the others stay.
    pub fn set_doors(&mut self, options: &Options) {
        let primary = self.primary();
        if options.expiration_date.is_some() {
            primary.expiration_date.clone_from(&options.expiration_date);
        }
        if !options.allowed_ips.is_empty() {
            primary.allowed_ips.clone_from(&options.allowed_ips);
        }
        if let Some(referer) = &options.referer {
            primary.allowed_referers = vec![referer.clone()];
        }
        if options.fingerprint.is_some() {
            primary.fingerprint.clone_from(&options.fingerprint);
        }
        if !options.resources.is_empty() {
            primary.resources = options.resources.iter().copied().collect();
        }
    }

    /// What is wrong with a store that was read; nothing if each part finds what it names.
    pub fn flaw(&self) -> Option<&'static str> {
        let known = |id| self.applications.iter().any(|application| application.id == id);
        let belongs = |authorization: &Authorization| known(authorization.application);
        if self.authorizations.is_empty() {
            Some("it has no authorization")
        } else if !self.authorizations.iter().all(belongs)
            || !self.secrets.iter().all(|secret| known(secret.application))
        {
            Some("it names an application that it does not have")
        } else {
            None
        }
    }

    /// A number that nothing has yet.
    pub fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// The authorization that `Options` describe.
    pub fn primary(&mut self) -> &mut Authorization {
        self.authorizations
            .first_mut()
            .expect("a store is made with one authorization, and none is ever removed")
    }

    /// An authorization by number.
    pub fn authorization(&mut self, id: u32) -> Option<&mut Authorization> {
        self.authorizations.iter_mut().find(|known| known.id == id)
    }

    /// An authorization and its application.
    pub fn place(&self, authorization: u32) -> Option<(&Application, &Authorization)> {
        let mut authorizations = self.authorizations.iter();
        let authorization = authorizations.find(|known| known.id == authorization)?;
        let mut applications = self.applications.iter();
        let application = applications.find(|known| known.id == authorization.application)?;
        Some((application, authorization))
    }

    /// Keeps a new secret, linked to an authorization.
    pub fn add(&mut self, authorization: u32, secret: Secret) {
        if let Some(authorization) = self.authorization(authorization) {
            authorization.secrets.insert(secret.id.clone());
        }
        self.secrets.push(secret);
    }

    /// A secret of an application.
    pub fn secret(&mut self, application: u32, key: &Key) -> Option<&mut Secret> {
        self.secrets.iter_mut().filter(|secret| secret.application == application).find(|secret| {
            match key {
                Key::Identity(identity) => secret.identity == *identity,
                Key::Id(id) => secret.id == *id,
                Key::First => true,
            }
        })
    }

    /// A secret by identity, made if there is none.
    pub fn upsert(&mut self, authorization: u32, identity: &str) -> Option<&mut Secret> {
        let application = self.authorization(authorization)?.application;
        let key = Key::Identity(identity.to_owned());
        if self.secret(application, &key).is_none() {
            let id = self.new_id().to_string();
            self.add(authorization, Secret::new(application, &id, identity));
        }
        let id = self.secret(application, &key)?.id.clone();
        self.authorization(authorization)?.secrets.insert(id);
        self.secret(application, &key)
    }

    /// Makes an account for a pod, and returns whether the secret exists.
    pub fn provision(
        &mut self,
        application: u32,
        key: &Key,
        pod: &Pod,
        ttl: Option<String>,
    ) -> bool {
        let Some(secret) = self.secret(application, key) else {
            return false;
        };
        secret.provision(pod.clone(), ttl);
        self.accounts_made += 1;
        true
    }

    /// Changes every password that is due to change.
    pub fn rotate(&mut self) {
        for secret in &mut self.secrets {
            secret.rotate();
        }
    }
}

/// Random hexadecimal digits.
pub fn token(digits: usize) -> String {
    (0..digits).filter_map(|_| char::from_digit(fastrand::u32(0..16), 16)).collect()
}
