//! A throw-away authority per start, and the certificates it signs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    options::{Certificate, Options},
    store::authorization::fingerprint,
};

type Made<T> = Result<T, rcgen::Error>;
type Authority = (CertificateDer<'static>, String, Issuer<'static, KeyPair>);

/// What a start makes: PEM for clients, and the server's side.
pub struct Identity {
    /// The authority that clients shall trust.
    pub ca_pem: String,
    /// A certificate for a client, signed by the authority.
    pub client_pem: String,
    /// Its key.
    pub client_key_pem: String,
    /// The fingerprint of the client certificate.
    pub client_fingerprint: String,
    /// What the server shows and insists on.
    pub server: Arc<ServerConfig>,
}

impl Identity {
    /// Makes an authority, a client certificate, and the server certificate that was asked for.
    pub fn new(options: &Options) -> Made<Self> {
        let (ca, ca_pem, issuer) = authority("dev-vault CA", None)?;

        let mut client = CertificateParams::new(Vec::new())?;
        client.distinguished_name = common_name("dev-vault client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let client = client.signed_by(&client_key, &issuer)?;

        let (chain, key) = server(options, &issuer)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for both protocol versions");
        let config = if options.client_certificate || options.bind_certificate {
            config.with_client_cert_verifier(verifier(ca, options.client_certificate))
        } else {
            config.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let mut config =
            config.with_single_cert(chain, key).expect("the certificate was made for this key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            client_pem: client.pem(),
            client_fingerprint: fingerprint(client.der()),
            client_key_pem: client_key.serialize_pem(),
            server: Arc::new(config),
        })
    }
}

fn server(
    options: &Options,
    issuer: &Issuer<'static, KeyPair>,
) -> Made<(Vec<CertificateDer<'static>>, KeyPair)> {
    let names = match options.certificate {
        Certificate::WrongName => vec!["elsewhere.invalid".to_owned()],
        Certificate::Good
        | Certificate::Expired
        | Certificate::OtherCa
        | Certificate::UnknownChain => ["127.0.0.1", "::1", "localhost"]
            .into_iter()
            .map(str::to_owned)
            .chain([options.listen.ip().to_string()])
            .chain(options.names.iter().cloned())
            .collect(),
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name("dev-vault");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if options.certificate == Certificate::Expired {
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate()?;
    let chain = match options.certificate {
        Certificate::Good | Certificate::Expired | Certificate::WrongName => {
            vec![params.signed_by(&key, issuer)?.der().clone()]
        }
        Certificate::OtherCa => {
            let (_, _, other) = authority("dev-vault CA", None)?;
            vec![params.signed_by(&key, &other)?.der().clone()]
        }
        Certificate::UnknownChain => {
            let (_, _, root) = authority("nobody's root", None)?;
            let (between, _, issuer) = authority("nobody's issuer", Some(&root))?;
            vec![params.signed_by(&key, &issuer)?.der().clone(), between]
        }
    };
    Ok((chain, key))
}

fn authority(name: &str, parent: Option<&Issuer<'static, KeyPair>>) -> Made<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = match parent {
        Some(parent) => params.signed_by(&key, parent)?,
        None => params.self_signed(&key)?,
    };
    Ok((certificate.der().clone(), certificate.pem(), Issuer::new(params, key)))
}

/// Takes client certificates of the authority; clients without one are admitted unless it is required.
fn verifier(ca: CertificateDer<'static>, required: bool) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(ca).expect("the authority's certificate is well-formed");
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().expect("there is one root and no revocation list")
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
