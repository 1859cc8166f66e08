//! How the vault is reached, and as whom.

use std::time::Duration;

use url::Url;

use super::Reader;
use super::parse;
use super::raw::Raw;
use crate::config::settings::{ClientCertificate, Credential, Vault};
use crate::secret::Secret;

impl Reader {
    fn url(&mut self, raw: &Raw) -> Option<Url> {
        let allow_http = self.flag("SEGURA_ALLOW_HTTP", raw.segura_allow_http.as_deref(), false);
        let (variable, url) = match (&raw.segura_url, &raw.senhasegura_url) {
            (None, Some(url)) => ("SENHASEGURA_URL", Some(url)),
            (url, _) => ("SEGURA_URL", url.as_ref()),
        };
        if url.is_none() {
            self.problem(variable, "must be set, to the vault's https URL");
        }
        let url = self.text(variable, url.map(String::as_str), parse::base_url);
        if let Some(url) = &url
            && url.scheme() == "http"
            && !allow_http
            && !parse::is_loopback(url)
        {
            self.problem(
                variable,
                "must be an https URL (SEGURA_ALLOW_HTTP=true allows plain http)",
            );
        }
        url
    }

    pub(super) fn vault(&mut self, raw: Raw) -> Option<Vault> {
        let url = self.url(&raw);
        let old = |value: Option<String>| value.map(|value| value.trim().to_owned());
        let old_secret = |value: Option<Secret<String>>| {
            value.map(|value| Secret::new(value.expose().trim().to_owned()))
        };
        let client_id = self.credential(
            ["SEGURA_CLIENT_ID", "SEGURA_CLIENT_ID_FILE"],
            raw.segura_client_id.map(Secret::new),
            raw.segura_client_id_file.as_deref(),
            old(raw.senhasegura_client_id).map(Secret::new),
        );
        let client_secret = self.credential(
            ["SEGURA_CLIENT_SECRET", "SEGURA_CLIENT_SECRET_FILE"],
            raw.segura_client_secret,
            raw.segura_client_secret_file.as_deref(),
            old_secret(raw.senhasegura_client_secret),
        );
        let seconds = Duration::from_secs;
        let ca_file = self.text("SEGURA_CA_FILE", raw.segura_ca_file.as_deref(), parse::path);
        let private_key_file = raw.segura_private_key_file.as_deref();
        let private_key_file = self.text("SEGURA_PRIVATE_KEY_FILE", private_key_file, parse::path);
        let client_certificate = self.client_certificate(
            raw.segura_client_cert_file.as_deref(),
            raw.segura_client_key_file.as_deref(),
        );
        let proxy = raw.https_proxy.as_ref().map(|proxy| proxy.expose().as_str());
        self.text("HTTPS_PROXY", proxy, parse::proxy);
        let referer = self.text("SEGURA_REFERER", raw.segura_referer.as_deref(), parse::header);
        let mut time = |variable, value: Option<String>, default| {
            self.text(variable, value.as_deref(), parse::timeout).unwrap_or(default)
        };
        let timeout = time("SEGURA_TIMEOUT", raw.segura_timeout, seconds(10));
        let connect_timeout =
            time("SEGURA_CONNECT_TIMEOUT", raw.segura_connect_timeout, seconds(3));
        let provision_timeout =
            time("SEGURA_PROVISION_TIMEOUT", raw.segura_provision_timeout, seconds(60));
        Some(Vault {
            url: url?,
            client_id: client_id?,
            client_secret: client_secret?,
            ca_file,
            client_certificate,
            private_key_file,
            referer,
            timeout,
            connect_timeout,
            provision_timeout,
            proxy: raw.https_proxy,
            no_proxy: raw.no_proxy,
        })
    }

    fn credential(
        &mut self,
        [variable, file_variable]: [&'static str; 2],
        given: Option<Secret<String>>,
        file: Option<&str>,
        old: Option<Secret<String>>,
    ) -> Option<Credential> {
        let path = self.text(file_variable, file, parse::path);
        match (given, file, old) {
            (Some(_), Some(_), _) => {
                self.problem(variable, format!("must not be set beside {file_variable}"));
                None
            }
            (Some(value), None, _) | (None, None, Some(value)) => {
                if value.expose().is_empty() {
                    self.problem(variable, "must not be blank");
                }
                Some(Credential::Given(value))
            }
            (None, Some(_), _) => {
                path.map(|path| Credential::File { variable: file_variable, path })
            }
            (None, None, None) => {
                self.problem(variable, format!("must be set, or {file_variable}"));
                None
            }
        }
    }

    fn client_certificate(
        &mut self,
        certificate: Option<&str>,
        key: Option<&str>,
    ) -> Option<ClientCertificate> {
        match (certificate.is_some(), key.is_some()) {
            (true, false) => {
                self.problem(
                    "SEGURA_CLIENT_KEY_FILE",
                    "must be set beside SEGURA_CLIENT_CERT_FILE",
                );
            }
            (false, true) => {
                self.problem(
                    "SEGURA_CLIENT_CERT_FILE",
                    "must be set beside SEGURA_CLIENT_KEY_FILE",
                );
            }
            (true, true) | (false, false) => {}
        }
        let certificate = self.text("SEGURA_CLIENT_CERT_FILE", certificate, parse::path);
        let key = self.text("SEGURA_CLIENT_KEY_FILE", key, parse::path);
        Some(ClientCertificate { certificate: certificate?, key: key? })
    }
}
