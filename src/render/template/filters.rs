//! Filters that secrets need. What they can't do is told without the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, Error, ErrorKind, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::render::{properties, yaml};

/// What a filter can't do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("b64decode was given what is not base64")]
    NotBase64,
    #[error(
        "b64decode was given base64 of what is no text; SEGURA_DECODE publishes such a value as a file"
    )]
    NotText,
    #[error("pgpass was given a value with a line break or a NUL, which no .pgpass file can hold")]
    NotForPgpass,
    #[error("shell was given a value with a NUL, which no shell can hold")]
    NotForShell,
    #[error("tojson was given what has no JSON")]
    NotJson,
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(ErrorKind::InvalidOperation, "see the source").with_source(unfit)
    }
}

/// Unreserved characters of RFC 3986 stay; everything else is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("b64encode", |text: String| STANDARD.encode(text));
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("tojson", |value: Value| {
        serde_json::to_string(&value).map_err(|_| Error::from(Unfit::NotJson))
    });
    environment.add_filter("toyaml", |value: Value| {
        yaml::flow(&value).map_err(|_| Error::from(Unfit::NotJson))
    });
    environment.add_filter("properties", |text: String| properties::value(&text));
    environment.add_filter("shell", shell);
    environment.add_filter("pgpass", pgpass);
    environment
        .add_filter("urlencode", |text: String| utf8_percent_encode(&text, RESERVED).to_string());
}

fn b64decode(text: String) -> Result<String, Error> {
    // As `base64 -d`: line breaks, which encoders put in, are not of it.
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| Unfit::NotBase64)?;
    Ok(String::from_utf8(bytes).map_err(|_| Unfit::NotText)?)
}

/// One word to a POSIX shell, whatever is in it.
fn shell(text: String) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Unfit::NotForShell.into());
    }
    Ok(format!("'{}'", text.replace('\'', r#"'"'"'"#)))
}

/// One field of a line of `.pgpass` (PostgreSQL, "The Password File").
fn pgpass(text: String) -> Result<String, Error> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(Unfit::NotForPgpass.into());
    }
    Ok(text.replace('\\', "\\\\").replace(':', "\\:"))
}
