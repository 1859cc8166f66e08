//! Sends one request and reads its whole answer, within a time and a length. Translates errors.

use std::error::Error;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, NoProxy, Proxy, RequestBuilder, Response};
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroize;

use super::error::{Cause, Malformation};
use super::tls;
use super::wire::{Answer, LONGEST};
use crate::config::settings::Vault;
use crate::os::{clock, sandbox};
use crate::secret::{Secret, SecretBuf};
use crate::vault::resolve::{SystemResolver, Unresolved};

/// The longest wait that the vault may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The connection to the vault.
pub(super) struct Wire {
    http: reqwest::Client,
    connect_timeout: Duration,
}

/// An answer that has been read whole.
pub(super) struct Reply {
    status: u16,
    after: Option<Duration>,
    body: Secret<Vec<u8>>,
}

impl Reply {
    /// The answer; an error does not show a text of `credentials` that it repeats.
    pub(super) fn answer<'a>(&'a self, credentials: &'a [&'a str]) -> Answer<'a> {
        Answer { status: self.status, after: self.after, body: self.body.expose(), credentials }
    }
}

impl Wire {
    pub(super) fn new(settings: &Vault) -> Result<Self, Cause> {
        let mut headers = HeaderMap::new();
        if let Some(referer) = &settings.referer {
            let value = referer
                .parse()
                .map_err(|_| tls::setting("SEGURA_REFERER", "is not a valid header value"))?;
            headers.insert(reqwest::header::REFERER, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("segura-agent/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .tls_backend_preconfigured(tls::client_config(settings)?)
            .dns_resolver(SystemResolver)
            .redirect(reqwest::redirect::Policy::none())
            // reqwest would repeat some failed requests by itself (`reqwest::retry`).
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(1)
            // Every exchange has a deadline of its own, so the kernel's timers are not needed
            // (`tcp(7)`).
            .tcp_keepalive(None)
            .tcp_user_timeout(None)
            .connect_timeout(settings.connect_timeout)
            .no_proxy();
        if let Some(proxy) = proxy(settings)? {
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|error| Cause::Tls(words(&error)))?;
        Ok(Self { http, connect_timeout: settings.connect_timeout })
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).header(reqwest::header::ACCEPT, "application/json")
    }

    /// Sends a request and reads the whole answer within `limit`.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Reply, Cause> {
        let whole = async {
            let response = request.send().await.map_err(|error| self.failure(&error))?;
            let status = response.status().as_u16();
            let after = retry_after(response.headers(), clock::wall());
            let body = self.body(response).await?;
            Ok(Reply { status, after, body })
        };
        timeout(limit, whole).await.unwrap_or(Err(Cause::TimedOut(limit)))
    }

    async fn body(&self, mut response: Response) -> Result<Secret<Vec<u8>>, Cause> {
        let too_long = || Cause::Malformed(Malformation::TooLong(LONGEST));
        let announced = response.content_length().unwrap_or(4096);
        let announced = usize::try_from(announced).ok().filter(|length| *length <= LONGEST);
        let mut body = SecretBuf::with_capacity(announced.ok_or_else(too_long)?);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error))? {
            if body.len() + chunk.len() > LONGEST {
                return Err(too_long());
            }
            body.push(&chunk);
            // Only the sole owner of a chunk may wipe its bytes.
            if let Ok(mut bytes) = chunk.try_into_mut() {
                bytes.as_mut().zeroize();
            }
        }
        Ok(body.into_secret())
    }

    /// Translates an error: reqwest's own text holds the URL, and its sources hold the reason.
    fn failure(&self, error: &reqwest::Error) -> Cause {
        if let Some(tls) = tls::failure(error) {
            return tls;
        }
        if let Some(unresolved) = source_of::<Unresolved>(error) {
            return Cause::Unresolved(unresolved.to_string());
        }
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Cause::ConnectTimedOut(self.connect_timeout),
            (true, false) => Cause::Unconnected(words(error)),
            (false, _) => Cause::Broken,
        }
    }
}

fn proxy(settings: &Vault) -> Result<Option<Proxy>, Cause> {
    let Some(proxy) = &settings.proxy else {
        return Ok(None);
    };
    let except = settings.no_proxy.as_deref().unwrap_or_default();
    let except = format!("localhost,127.0.0.0/8,::1,{except}");
    // The error may quote the proxy's URL, which may hold a password.
    let proxy =
        Proxy::https(proxy.expose()).map_err(|_| tls::setting("HTTPS_PROXY", "can't be used"))?;
    Ok(Some(proxy.no_proxy(NoProxy::from_string(&except))))
}

fn source_of<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// The operating system's message, or else that of the innermost error.
fn words(error: &reqwest::Error) -> String {
    if let Some(io) = source_of::<std::io::Error>(error) {
        return sandbox::unconnected(io);
    }
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) => "the HTTP client failed".to_owned(),
        None => innermost.to_string(),
    }
}

/// The wait that the vault asks for: `Retry-After` as seconds or a date (RFC 9110, 10.2.3), else
/// `X-RateLimit-Reset` as a Unix time (DSM's page "API v2 conventions and shared behaviors").
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |time: SystemTime| time.duration_since(now).unwrap_or(Duration::ZERO);
    let retry = text(RETRY_AFTER.as_str()).and_then(|text| match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok().map(until),
    });
    let reset = || {
        let seconds: u64 = text("x-ratelimit-reset")?.parse().ok()?;
        // So small a number is no Unix time: some gateways send the seconds that are left.
        if seconds < 1_000_000_000 {
            return Some(Duration::from_secs(seconds));
        }
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(until)
    };
    retry.or_else(reset).map(|wait| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_every_spelling() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_000);
        for (name, value, expected) in [
            ("retry-after", "30", Some(30)),
            ("retry-after", "Thu, 01 Jan 2026 00:00:00 GMT", Some(600)),
            ("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "99999999", Some(3600)),
            ("x-ratelimit-reset", "1767225060", Some(60)),
            ("x-ratelimit-reset", "1767224000", Some(0)),
            ("x-ratelimit-reset", "45", Some(45)),
            ("x-ratelimit-reset", "18446744073709551615", None),
            ("other", "30", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(reqwest::header::HeaderName::from_static(name), value.parse().unwrap());
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{name}: {value}");
        }
    }
}
