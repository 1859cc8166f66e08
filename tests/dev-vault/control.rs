//! Steering a running vault, and watching it.

use std::{io, sync::mpsc, time::Duration};

use super::{
    admin,
    call::Request,
    fault::Fault,
    handle::DevVault,
    options::Options,
    server::Order,
    store::{Key, pam::Credential},
};

/// An account that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// Whose it is.
    pub pod_name: String,
    /// Its deployment.
    pub deploy: String,
    /// Its namespace.
    pub namespace: String,
    /// The account's name.
    pub username: String,
    /// The account's password now.
    pub password: String,
}

impl DevVault {
    /// Changes how the vault behaves. What only a start can decide (TLS, address, the OAuth pair, …)
    /// stays.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        let state = &mut *self.shared.lock();
        change(&mut state.options);
        state.store.set_doors(&state.options);
    }

    /// Writes a whole secret: JSON with `identity`, and any of `data`, `secret_id`, `name`,
    /// `version`, `description`, `expiration_date`, `engine`, `profile`, `rotates`.
    ///
    /// `data` raises the version, unless a version is stated.
    pub fn put_secret(&self, json: impl ToString) {
        admin::put(&mut self.shared.lock(), None, &json.to_string())
            .expect("a test writes secrets in the documented shape");
    }

    /// Replaces the data of a secret, which is made if there is none, and raises its version.
    ///
    /// A string is taken as JSON text and keeps its order, its duplicates and its spelling.
    pub fn set_data(&self, identity: &str, data: impl ToString) {
        admin::put(&mut self.shared.lock(), Some(identity), &data.to_string())
            .expect("a test writes data as an object or an array of objects");
    }

    /// Forgets a secret and its accounts.
    pub fn remove_secret(&self, identity: &str) {
        admin::remove(&mut self.shared.lock(), identity);
    }

    /// The version of a secret; nothing if there is none.
    pub fn version(&self, identity: &str) -> Option<String> {
        let mut state = self.shared.lock();
        let application = state.store.primary().application;
        let key = Key::Identity(identity.to_owned());
        Some(state.store.secret(application, &key)?.version.clone())
    }

    /// Arms a fault, behind those that are armed.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Disarms all faults. What already suffers goes on suffering.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// What the vault was asked, oldest first, without the admin routes.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Forgets what the vault was asked.
    pub fn clear_requests(&self) {
        self.shared.lock().requests.clear();
    }

    /// How long it has been running, on the clock of [`Request::at`].
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().elapsed()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// The handshakes that failed, in rustls's words.
    pub fn tls_errors(&self) -> Vec<String> {
        self.shared.lock().tls_errors.clone()
    }

    /// The accounts that pods hold of a secret, oldest first.
    pub fn provisioned(&self, identity: &str) -> Vec<Provisioned> {
        let state = self.shared.lock();
        let secrets = state.store.secrets.iter();
        secrets
            .filter(|secret| secret.identity == identity)
            .flat_map(|secret| &secret.accounts)
            .map(|account| Provisioned {
                pod_name: account.pod.name.clone(),
                deploy: account.pod.deploy.clone(),
                namespace: account.pod.namespace.clone(),
                username: account.username.clone(),
                password: account.password.clone(),
            })
            .collect()
    }

    /// How many accounts were ever made.
    pub fn provision_count(&self) -> usize {
        self.shared.lock().store.accounts_made
    }

    /// The PAM credentials that were written.
    pub fn credentials(&self) -> Vec<Credential> {
        self.shared.lock().store.pam.credentials.clone()
    }

    /// Makes every token expired.
    pub fn revoke_tokens(&self) {
        self.shared.lock().tokens.revoke();
    }

    /// Enables or disables the authorization.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.lock().store.primary().enabled = enabled;
    }

    /// Replaces the client secret; [`client_secret`](Self::client_secret) still returns the old one.
    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut self.shared.lock().store.primary().client_secret);
    }

    /// Changes the passwords of accounts and of the demo secrets, and raises versions.
    pub fn rotate(&self) {
        self.shared.lock().store.rotate();
    }

    /// Closes the listener and every connection: from now on, connecting is refused.
    pub fn go_down(&self) {
        self.order(Order::Down);
    }

    /// Listens again, on the same port, with everything as it was.
    pub fn come_back(&self) {
        self.order(Order::Up);
    }

    /// Closes every connection, and goes on listening.
    pub fn disconnect(&self) {
        self.order(Order::Disconnect);
    }

    fn order(&self, order: impl FnOnce(mpsc::Sender<io::Result<()>>) -> Order) {
        let (ack, done) = mpsc::channel();
        let orders = self.orders.as_ref().expect("only drop takes it away");
        orders
            .send(order(ack))
            .ok()
            .and_then(|()| done.recv().ok())
            .expect("the server runs as long as its handle")
            .expect("the port that was ours is free again");
    }
}
