//! Templates (minijinja): each makes one file from the secrets and their properties.
//!
//! A template can't read files, the environment or the network; its steps and its output are
//! bounded, and an undefined name is an error with file and line. Errors quote the template at
//! most, never a value.

mod filters;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter,
};

use serde::Serialize;

use super::error::{Flaw, RenderError};
use crate::inputs::templates::SUFFIX;
use crate::model::{Bundle, Entry, PodIdentity, SecretSet, flat};
use crate::secret::{Secret, SecretBuf};
use filters::Unfit;

/// The most fuel of one rendering, spent on steps and on the texts and lists that they make; ten
/// thousand secrets of ten keys take a million.
const STEPS: u64 = 2_000_000;
/// The longest output, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// The longest expression or statement, in bytes: minijinja parses them by recursion, and a deep
/// one would overflow the stack.
const LONGEST_TAG: usize = 4096;
/// The names that a template knows.
const KNOWN: [&str; 4] = ["secrets", "entries", "meta", "pod"];
/// The deepest nesting of blocks and macros.
const DEPTH: usize = 100;

/// Parsed templates.
#[derive(Clone)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
    /// Files of templates, in order.
    files: Vec<String>,
}

/// The output of a template.
#[derive(Debug)]
pub(super) struct Made<'a> {
    /// The template's file.
    pub(super) file: &'a str,
    /// The name of its output.
    pub(super) output: &'a str,
    pub(super) content: Secret<Vec<u8>>,
}

fn flaw(file: &str, error: &Error) -> Flaw {
    Flaw { file: file.to_owned(), line: error.line(), what: described(error) }
}

/// The error's text, from the template or the agent. minijinja's details of other errors may hold
/// values, so they are not shown.
fn described(error: &Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(unfit) = cause.downcast_ref::<Unfit>() {
            return unfit.to_string();
        }
        source = cause.source();
    }
    let kind = error.kind();
    let quotes_the_template = [
        ErrorKind::SyntaxError,
        ErrorKind::UnknownFilter,
        ErrorKind::UnknownTest,
        ErrorKind::UnknownFunction,
    ];
    if kind == ErrorKind::UndefinedError {
        "it uses a name that is not defined (write `secrets[\"a/b\"]` for an identity that is not a plain word)".to_owned()
    } else if kind == ErrorKind::WriteFailure {
        // The writer has no other reason to fail.
        "its output is longer than 4 MiB".to_owned()
    } else if kind == ErrorKind::OutOfFuel {
        "it takes too many steps".to_owned()
    } else {
        let detail = error.detail().filter(|_| quotes_the_template.contains(&kind));
        let detail = detail.or_else(|| error.detail().filter(|detail| CONSTANT.contains(detail)));
        detail.map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"))
    }
}

/// minijinja's details that are constant, and so hold no value.
const CONSTANT: [&str; 2] = ["recursion limit exceeded", "range has too many elements"];

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Templates").field(&self.files).finish()
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self { environment: Arc::new(Environment::empty()), files: Vec::new() }
    }
}

impl Templates {
    /// Parses templates, given by file and text; returns all flaws if there are any.
    pub fn new(sources: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Flaw>> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS));
        environment.set_recursion_limit(DEPTH);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters"));
        environment.set_formatter(|out, state, value| {
            if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
                filters::is_there(value)?;
            }
            escape_formatter(out, state, value)
        });
        filters::add(&mut environment);
        let (mut files, mut flaws) = (Vec::new(), Vec::new());
        for (file, source) in sources {
            if let Some(line) = too_long(&source) {
                let what = "an expression or statement is longer than 4 KiB".to_owned();
                flaws.push(Flaw { file, line: Some(line), what });
                continue;
            }
            match environment.add_template_owned(file.clone(), source) {
                Ok(()) => files.push(file),
                Err(error) => flaws.push(flaw(&file, &error)),
            }
        }
        flaws.extend(files.iter().flat_map(|file| unknown_names(&environment, file)));
        files.sort_unstable();
        let environment = Arc::new(environment);
        if flaws.is_empty() { Ok(Self { environment, files }) } else { Err(flaws) }
    }

    /// All templates except that of `file`.
    pub(super) fn without(&self, file: &str) -> Self {
        let mut files = self.files.clone();
        files.retain(|other| other != file);
        Self { environment: Arc::clone(&self.environment), files }
    }

    /// True if there is no template.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| output(file))
    }

    /// Renders every template.
    pub(super) fn render(
        &self,
        bundle: &Bundle,
        pod: &PodIdentity,
    ) -> Result<Vec<Made<'_>>, RenderError> {
        let context = context(bundle, pod);
        let rendered = self.files.iter().map(|file| {
            let flawed = |error| RenderError::Template { flaw: flaw(file, &error) };
            let template = self.environment.get_template(file).map_err(flawed)?;
            let mut output = Bounded::new();
            template.render_captured_to(context.clone(), &mut output).map_err(flawed)?;
            Ok(Made { file, output: self::output(file), content: output.0.into_secret() })
        });
        rendered.collect()
    }
}

/// The line of a tag that is longer than [`LONGEST_TAG`].
fn too_long(source: &str) -> Option<usize> {
    let mut rest = source;
    loop {
        let at = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min()?;
        let (_, tag) = rest.split_at_checked(at)?;
        let close = match tag.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => "#}",
        };
        let end = tag.find(close).unwrap_or(tag.len());
        if end > LONGEST_TAG && close != "#}" {
            let before = source.len() - tag.len();
            return Some(1 + source.get(..before)?.matches('\n').count());
        }
        rest = tag.get(end..)?.get(close.len()..)?;
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// A flaw for each name that a template uses and no rendering defines.
fn unknown_names(environment: &Environment<'_>, file: &str) -> Vec<Flaw> {
    let Ok(template) = environment.get_template(file) else {
        return Vec::new();
    };
    let known = |name: &String| {
        KNOWN.contains(&name.as_str()) || environment.globals().any(|(global, _)| global == name)
    };
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.retain(|name| !known(name));
    names.sort_unstable();
    let flaw = |name: String| {
        // The first line that has the name.
        let names = |line: &str| line.split(|c: char| !is_word(c)).any(|word| word == name);
        let line = template.source().lines().position(names).map(|line| line + 1);
        let what =
            format!("it uses {name}, which is neither one of {} nor a function", KNOWN.join(", "));
        Flaw { file: file.to_owned(), line, what }
    };
    names.into_iter().map(flaw).collect()
}

fn output(file: &str) -> &str {
    file.strip_suffix(SUFFIX).unwrap_or(file)
}

/// The properties of a secret that a template sees, each in the vault's spelling.
#[derive(Serialize)]
struct Meta<'a> {
    id: &'a str,
    name: &'a str,
    version: &'a str,
    engine: &'a str,
    expiration_date: &'a str,
}

/// The values that a template sees.
fn context(bundle: &Bundle, pod: &PodIdentity) -> Value {
    let by_identity = |of: &dyn Fn(&SecretSet) -> Value| -> BTreeMap<String, Value> {
        bundle.secrets.iter().map(|(name, set)| (name.to_string(), of(set))).collect()
    };
    let map = |entries: &[Entry]| -> Value {
        let items = flat(entries).into_iter();
        Value::from_pairs(items.map(|(key, value)| (key, Value::from(value.expose().as_str()))))
    };
    let entries = by_identity(&|set| {
        set.entries.iter().map(|entry| map(std::slice::from_ref(entry))).collect()
    });
    let secrets = by_identity(&|set| map(&set.entries));
    let meta = by_identity(&|set| {
        Value::from(Serde(Meta {
            id: &set.id,
            name: &set.name,
            version: &set.version,
            engine: &set.engine,
            expiration_date: &set.expiration,
        }))
    });
    let known = [
        ("name", Some(&pod.name)),
        ("uid", pod.uid.as_ref()),
        ("namespace", pod.namespace.as_ref()),
        ("deploy", Some(&pod.deploy)),
    ];
    let known = known.into_iter().filter_map(|(key, value)| Some((key, Value::from(value?))));
    Value::from_pairs([
        ("secrets", Value::from(secrets)),
        ("entries", Value::from(entries)),
        ("meta", Value::from(meta)),
        ("pod", Value::from_pairs(known)),
    ])
}

/// The writer of an output, which fails beyond [`LONGEST`].
struct Bounded(SecretBuf);

impl Bounded {
    fn new() -> Self {
        Self(SecretBuf::with_capacity(4096))
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.into_secret().expose().clone()
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
