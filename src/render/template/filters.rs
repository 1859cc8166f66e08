//! Filters for secrets. Their errors don't hold the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Bounded, LONGEST};
use crate::render::{properties, yaml};

/// The deepest nesting of a value that a filter writes.
const DEEPEST: usize = 64;
/// The most members that such a value may have.
const MOST: usize = 200_000;

/// The reason why a filter can't use a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("b64decode got a value that is not base64")]
    NotBase64,
    #[error(
        "b64decode got base64 of bytes that are not UTF-8 text; SEGURA_DECODE publishes such a value as a file"
    )]
    NotText,
    #[error("pgpass got a value with a line break or a NUL, which a .pgpass file can't hold")]
    NotForPgpass,
    #[error("shell got a value with a NUL, which a shell can't hold")]
    NotForShell,
    #[error("a filter for texts got a list, an object or none: pass one value of it")]
    NotOne,
    #[error("a value is too large, nested too deeply or of a type that JSON lacks")]
    NotWritable,
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(ErrorKind::InvalidOperation, "see the source").with_source(unfit)
    }
}

/// The characters to encode: all except the unreserved ones (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Adds filters for secrets. Removes minijinja's filters and globals that escape for HTML, print
/// every value, or grow without limit, and replaces those that accept an undefined name.
pub(super) fn add(environment: &mut Environment<'_>) {
    for unwanted in ["escape", "e", "pprint"] {
        environment.remove_filter(unwanted);
    }
    for unwanted in ["namespace", "debug"] {
        environment.remove_global(unwanted);
    }
    environment.add_filter("b64encode", |value: &Value| Ok(STANDARD.encode(text(value)?)));
    environment.add_filter("b64decode", |value: &Value| b64decode(&text(value)?));
    environment.add_filter("properties", |value: &Value| Ok(properties::value(&text(value)?)));
    environment.add_filter("shell", |value: &Value| shell(&text(value)?));
    environment.add_filter("pgpass", |value: &Value| pgpass(&text(value)?));
    environment.add_filter("urlencode", |value: &Value| {
        Ok(utf8_percent_encode(&text(value)?, RESERVED).to_string())
    });
    environment.add_filter("tojson", |value: &Value| written(value, as_json));
    environment.add_filter("toyaml", |value: &Value| {
        written(value, |value, bytes| yaml::flow(value, bytes))
    });
    environment.add_filter("string", |value: &Value| match text(value) {
        Err(error) if error.kind() == ErrorKind::InvalidOperation => written(value, as_json),
        text => text,
    });
    environment.add_filter("join", join);
}

/// The text of a value; an error for lists, objects, none and undefined.
fn text(value: &Value) -> Result<String, Error> {
    let kind = value.kind();
    if let Some(text) = value.as_str() {
        Ok(text.to_owned())
    } else if matches!(kind, ValueKind::Number | ValueKind::Bool) {
        Ok(value.to_string())
    } else if kind == ValueKind::Undefined {
        Err(ErrorKind::UndefinedError.into())
    } else {
        Err(Unfit::NotOne.into())
    }
}

/// Refuses a value with an undefined member, for which minijinja would write a word.
pub(super) fn is_there(value: &Value) -> Result<(), Error> {
    walk(value, DEEPEST, &mut MOST.clone())
}

fn walk(value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
    if depth == 0 || *left == 0 {
        return Err(Unfit::NotWritable.into());
    }
    *left -= 1;
    let kind = value.kind();
    if kind == ValueKind::Undefined {
        Err(ErrorKind::UndefinedError.into())
    } else if kind == ValueKind::Map {
        value.try_iter()?.try_for_each(|name| {
            walk(&name, depth - 1, left)?;
            walk(&value.get_item(&name)?, depth - 1, left)
        })
    } else if matches!(kind, ValueKind::Seq | ValueKind::Iterable) {
        value.try_iter()?.try_for_each(|member| walk(&member, depth - 1, left))
    } else {
        Ok(())
    }
}

/// A value in another format, within the limit of an output.
fn written(
    value: &Value,
    write: fn(&Value, &mut Bounded) -> serde_json::Result<()>,
) -> Result<String, Error> {
    is_there(value)?;
    let mut bytes = Bounded::new();
    write(value, &mut bytes).map_err(|_| Unfit::NotWritable)?;
    Ok(String::from_utf8(bytes.into_bytes()).map_err(|_| Unfit::NotWritable)?)
}

fn as_json(value: &Value, bytes: &mut Bounded) -> serde_json::Result<()> {
    serde_json::to_writer(bytes, value)
}

fn join(members: &Value, between: Option<String>) -> Result<String, Error> {
    if members.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (member, at) in members.try_iter()?.zip(0..) {
        if at > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&text(&member)?);
        if joined.len() > LONGEST || at >= MOST {
            return Err(Unfit::NotWritable.into());
        }
    }
    Ok(joined)
}

fn b64decode(text: &str) -> Result<String, Error> {
    // Skips line breaks, which encoders insert, as `base64 -d` does.
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| Unfit::NotBase64)?;
    Ok(String::from_utf8(bytes).map_err(|_| Unfit::NotText)?)
}

/// The value as one word of a POSIX shell.
fn shell(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Unfit::NotForShell.into());
    }
    Ok(format!("'{}'", text.replace('\'', r#"'"'"'"#)))
}

/// The value as one field of a line of `.pgpass` (PostgreSQL, "The Password File"). Escapes a
/// leading `#`, which would begin a comment, and a leading `*`, which alone would match everything.
fn pgpass(text: &str) -> Result<String, Error> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(Unfit::NotForPgpass.into());
    }
    let mut field = String::with_capacity(text.len() + 8);
    for (character, at) in text.chars().zip(0..) {
        if matches!(character, '\\' | ':') || at == 0 && matches!(character, '#' | '*') {
            field.push('\\');
        }
        field.push(character);
    }
    Ok(field)
}
