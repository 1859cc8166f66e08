//! Settings of the vault: address, credentials, files and limits.

use std::time::Duration;

use url::Url;

use super::Reader;
use super::parse;
use super::raw::{Raw, RawVariable};
use crate::config::settings::{ClientCertificate, Credential, Vault};
use crate::secret::Secret;

impl Reader {
    fn url(&mut self, raw: &Raw) -> Option<Url> {
        let allow_http = self.text(&raw.segura_allow_http, parse::boolean).unwrap_or(false);
        let old = !raw.segura_url.is_set() && raw.senhasegura_url.is_set();
        let variable = if old { &raw.senhasegura_url } else { &raw.segura_url };
        if !variable.is_set() {
            self.problem(variable.name, "must be set to the vault's https URL");
        }
        let url = self.text(variable, parse::base_url);
        if let Some(url) = &url
            && url.scheme() == "http"
            && !allow_http
            && !parse::is_loopback(url)
        {
            self.problem(
                variable.name,
                "must be an https URL (SEGURA_ALLOW_HTTP=true allows plain http)",
            );
        }
        url
    }

    pub(super) fn vault(&mut self, raw: Raw) -> Option<Vault> {
        let url = self.url(&raw);
        let client_id = self.credential(
            raw.segura_client_id,
            &raw.segura_client_id_file,
            raw.senhasegura_client_id,
        );
        let client_secret = self.credential(
            raw.segura_client_secret,
            &raw.segura_client_secret_file,
            raw.senhasegura_client_secret,
        );
        let seconds = Duration::from_secs;
        let ca_file = self.text(&raw.segura_ca_file, parse::path);
        let private_key_file = self.text(&raw.segura_private_key_file, parse::path);
        let client_certificate =
            self.client_certificate(&raw.segura_client_cert_file, &raw.segura_client_key_file);
        let RawVariable { name, value: proxy } = raw.https_proxy;
        self.value(name, proxy.as_ref().map(|proxy| proxy.expose().as_str()), parse::proxy);
        let referer = self.text(&raw.segura_referer, parse::header);
        let mut time = |variable, default| self.text(variable, parse::timeout).unwrap_or(default);
        let timeout = time(&raw.segura_timeout, seconds(10));
        let connect_timeout = time(&raw.segura_connect_timeout, seconds(3));
        let provision_timeout = time(&raw.segura_provision_timeout, seconds(60));
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
            proxy,
            no_proxy: raw.no_proxy.value,
        })
    }

    fn credential(
        &mut self,
        given: RawVariable<Secret<String>>,
        file: &RawVariable,
        old: RawVariable<Secret<String>>,
    ) -> Option<Credential> {
        let path = self.text(file, parse::path);
        let old = old.value.map(|value| Secret::new(value.expose().trim().to_owned()));
        match (given.value, file.is_set(), old) {
            (Some(_), true, _) => {
                self.problem(given.name, format!("must not be set beside {}", file.name));
                None
            }
            (Some(value), false, _) | (None, false, Some(value)) => {
                if value.expose().is_empty() {
                    self.problem(given.name, "must not be blank");
                }
                Some(Credential::Given(value))
            }
            (None, true, _) => path.map(|path| Credential::File { variable: file.name, path }),
            (None, false, None) => {
                self.problem(given.name, format!("must be set, unless {} is", file.name));
                None
            }
        }
    }

    fn client_certificate(
        &mut self,
        certificate: &RawVariable,
        key: &RawVariable,
    ) -> Option<ClientCertificate> {
        match (certificate.is_set(), key.is_set()) {
            (true, false) => {
                self.problem(key.name, format!("must be set beside {}", certificate.name));
            }
            (false, true) => {
                self.problem(certificate.name, format!("must be set beside {}", key.name));
            }
            (true, true) | (false, false) => {}
        }
        let certificate = self.text(certificate, parse::path);
        let key = self.text(key, parse::path);
        Some(ClientCertificate { certificate: certificate?, key: key? })
    }
}
