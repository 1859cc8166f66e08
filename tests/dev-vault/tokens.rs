//! Access tokens: JWTs that the vault knows by their signature, and whose end it enforces.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, rand::SystemRandom};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::store::token;

/// The tokens of one vault. The key is the vault's own, so another vault's tokens are foreign.
#[derive(Debug)]
pub struct Tokens {
    key: hmac::Key,
    live: HashMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    authorization: u32,
    until: Instant,
}

/// Why the gateway refuses a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It wasn't made here.
    Foreign,
    /// Its time is over, or it was revoked.
    Expired,
}

impl Tokens {
    /// No tokens yet.
    pub fn new() -> Self {
        Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .expect("the system has random numbers"),
            live: HashMap::new(),
        }
    }

    /// Makes a token. The shift is that of the wall clock, which only its claims show.
    pub fn issue(&mut self, authorization: u32, client: &str, ttl: Duration, shift: i64) -> String {
        let id = token(40);
        let now = wall_clock(shift);
        let until = now.saturating_add_unsigned(ttl.as_secs());
        let head = json!({"typ": "JWT", "alg": "HS256"});
        let claims = json!({
            "aud": client, "jti": id, "iat": now, "nbf": now, "exp": until, "sub": "", "scopes": [],
        });
        let signed = format!("{}.{}", part(&head), part(&claims));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        let until = Instant::now() + ttl;
        self.live.insert(id, Token { authorization, until });
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whose token this is.
    pub fn check(&self, text: &str) -> Result<u32, Refusal> {
        let id = self.verify(text).ok_or(Refusal::Foreign)?;
        let token = self.live.get(&id).ok_or(Refusal::Expired)?;
        if Instant::now() < token.until { Ok(token.authorization) } else { Err(Refusal::Expired) }
    }

    /// Ends the life of every token.
    pub fn revoke(&mut self) {
        self.live.clear();
    }

    fn verify(&self, text: &str) -> Option<String> {
        let (signed, tag) = text.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(claims.get("jti")?.as_str()?.to_owned())
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Seconds of the wall clock, ahead by `shift`.
#[expect(
    clippy::disallowed_methods,
    reason = "a server's answers state wall-clock times; no decision is made by them"
)]
pub fn wall_clock(shift: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |age| age.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_add(shift)
}
