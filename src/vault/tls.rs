//! TLS by the settings: certificates are always verified, against the roots of the settings, or
//! those that are built in.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::error::{BadCertificate, Cause};
use crate::config::settings::{ClientCertificate, Vault};
use crate::os::opened::{self, LONGEST_INPUT};
use crate::os::sandbox;
use crate::secret::Secret;

/// Reads the files that the settings name, and builds the client's side of TLS.
pub(super) fn client_config(settings: &Vault) -> Result<ClientConfig, Cause> {
    let roots = match &settings.ca_file {
        Some(file) => bundle("SEGURA_CA_FILE", file)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Cause::Tls(error.to_string()))?
        .with_root_certificates(roots);
    match &settings.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(own) => {
            let (chain, key) = identity(own)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| {
                setting("SEGURA_CLIENT_KEY_FILE", "does not belong to SEGURA_CLIENT_CERT_FILE")
            })
        }
    }
}

fn bundle(variable: &'static str, file: &Path) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(variable, file)? {
        roots
            .add(certificate)
            .map_err(|_| setting(variable, "holds a certificate that can't be a root of trust"))?;
    }
    Ok(roots)
}

fn identity(
    own: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Cause> {
    const KEY: &str = "SEGURA_CLIENT_KEY_FILE";
    let chain = certificates("SEGURA_CLIENT_CERT_FILE", &own.certificate)?;
    let pem = read(KEY, &own.key)?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose())
        .map_err(|_| setting(KEY, "holds no private key in PEM"))?;
    Ok((chain, key))
}

fn certificates(
    variable: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let pem = read(variable, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| setting(variable, "holds no certificates in PEM"))
}

/// Reads a file that a variable names.
pub(super) fn read(variable: &'static str, file: &Path) -> Result<Secret<Vec<u8>>, Cause> {
    let bytes = opened::read_input(file, LONGEST_INPUT);
    bytes.map_err(|error| {
        let error = sandbox::unread(file, error);
        setting(variable, format!("cannot read {}: {error}", file.display()))
    })
}

pub(super) fn setting(variable: &'static str, problem: impl Into<String>) -> Cause {
    Cause::Setting { variable, problem: problem.into() }
}

/// The cause, if `error` or one of its sources is a TLS failure.
pub(super) fn failure(error: &(dyn Error + 'static)) -> Option<Cause> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(meaning(tls));
        }
        // An I/O error's `source` skips the error that it wraps (`std::io::Error::source`), which
        // may again be an I/O error: it is the next link.
        let hidden = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = match hidden {
            Some(hidden) => Some(hidden),
            None => error.source(),
        };
    }
    None
}

fn meaning(error: &rustls::Error) -> Cause {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return Cause::Tls(error.to_string());
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add reasons")]
    let bad = match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            BadCertificate::UnknownAuthority
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            BadCertificate::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            BadCertificate::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            BadCertificate::WrongName
        }
        CertificateError::Revoked => BadCertificate::Revoked,
        _ => BadCertificate::Unacceptable,
    };
    Cause::Certificate(bad)
}
