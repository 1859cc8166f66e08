//! The vault's requests by the names that tests give them: as `METHOD path` to find and count them, and
//! by the part of the path that a [`Fault`](super::Fault) meets.

/// Logs in.
pub const LOGIN: &str = "POST /iso/oauth2/token";
/// Provisions a secret for a pod.
pub const PROVISION: &str = "POST /iso/coe/dapp/provision";
/// Reads what a pod was provisioned.
pub const READ: &str = "GET /iso/coe/dapp/provision";
/// Deprovisions a secret.
pub const DEPROVISION: &str = "POST /iso/coe/dapp/deprovision";
/// Reads all secrets of the application.
pub const APPLICATION: &str = "GET /iso/dapp/application";
/// Lists the secrets.
pub const SECRETS: &str = "GET /iso/sctm/secret";
/// Creates a secret, or replaces it.
pub const PUT_SECRET: &str = "POST /iso/sctm/secret";
/// Creates a PAM credential, or replaces it.
pub const PUT_CREDENTIAL: &str = "POST /api/pam/credential";

/// Reads one secret.
pub fn secret(identity: &str) -> String {
    format!("{SECRETS}/{identity}")
}

/// Parts of paths, each of one route alone.
pub mod path {
    /// Logs in.
    pub const LOGIN: &str = "oauth2/token";
    /// Provisions, and reads what was provisioned.
    pub const PROVISION: &str = "coe/dapp/provision";
    /// Deprovisions.
    pub const DEPROVISION: &str = "coe/dapp/deprovision";
    /// Reads all secrets of the application.
    pub const APPLICATION: &str = "dapp/application";
    /// Reads and writes secrets.
    pub const SECRETS: &str = "sctm/secret";
}
