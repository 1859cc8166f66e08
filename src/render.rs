//! Renders secrets to the files that are published. Pure: no clock, no file system, no environment.
//!
//! Every output is a function of the bundle and the layout: equal secrets give equal bytes, and a
//! failure leaves the published files as they are.

pub mod bundle;
pub mod decode;
mod dialect;
pub mod env;
pub mod environment;
mod error;
mod files;
mod json;
pub mod name;
mod properties;
pub mod template;
mod yaml;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Bundle, PodIdentity};
use crate::secret::Secret;
use decode::NoText;
pub use error::{Flaw, RenderError};

/// The treatment of a key for which entries of one secret have different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collision {
    /// The last entry's value counts, with a warning.
    Last,
    /// The secret is refused.
    Refuse,
}

/// The outputs to render, and their names.
#[derive(Clone, Debug)]
pub struct Layout {
    /// One file a key.
    pub files: bool,
    /// An env file of this name.
    pub env: Option<String>,
    /// The env file's dialect.
    pub dialect: env::Dialect,
    /// A JSON file of this name.
    pub json: Option<String>,
    /// A YAML file of this name.
    pub yaml: Option<String>,
    /// A `.properties` file of this name.
    pub properties: Option<String>,
    /// Templates, each of which makes a file.
    pub templates: template::Templates,
    /// The pod, as templates see it.
    pub pod: PodIdentity,
    /// True if a command's environment must be able to hold every value.
    pub environment: bool,
    /// The names of variables.
    pub variables: name::Variables,
    /// The treatment of entries with different values.
    pub collision: Collision,
    /// The values to decode from base64.
    pub decode: decode::Decode,
}

impl Layout {
    /// The names of the files that hold more than one value.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        let all = [&self.env, &self.json, &self.yaml, &self.properties];
        all.into_iter().flatten().map(String::as_str).chain(self.templates.outputs())
    }

    /// This layout without one template.
    #[must_use]
    pub fn without_template(&self, file: &str) -> Self {
        Self { templates: self.templates.without(file), ..self.clone() }
    }

    /// This layout without any output, for an empty set.
    #[must_use]
    pub fn without_outputs(&self) -> Self {
        Self {
            files: false,
            env: None,
            json: None,
            yaml: None,
            properties: None,
            templates: template::Templates::default(),
            environment: false,
            decode: decode::Decode::default(),
            ..self.clone()
        }
    }
}

/// The path of a published file inside the output directory. The order is folder by folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// A name of which the caller has proven every part.
    fn new(path: String) -> Self {
        Self(path)
    }

    /// The path, parts joined by slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of the folders, then the file's.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The name that users see in the output directory.
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// True if the file is the agent's own.
    pub fn is_hidden(&self) -> bool {
        self.0.starts_with("..")
    }

    fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }
}

impl Ord for FileName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for FileName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of one file: borrowed from the bundle if a value is published unchanged.
#[derive(Debug)]
pub enum Content<'a> {
    /// A value of the bundle.
    Lent(&'a Secret<String>),
    /// Made by a renderer.
    Made(Secret<Vec<u8>>),
}

impl Content<'_> {
    /// The bytes to publish.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Lent(value) => value.expose().as_bytes(),
            Self::Made(bytes) => bytes.expose(),
        }
    }
}

/// The files of one generation, by path.
pub type FileSet<'a> = BTreeMap<FileName, Content<'a>>;

/// The result of a rendering.
#[derive(Debug)]
pub struct Rendering<'a> {
    /// The files of the generation.
    pub files: FileSet<'a>,
    /// Warnings about what is published, one line each.
    pub remarks: Vec<String>,
}

/// The owner of each path, so that a clash can name both.
struct PathClaims<'a> {
    files: FileSet<'a>,
    owners: BTreeMap<String, String>,
}

impl<'a> PathClaims<'a> {
    fn add(
        &mut self,
        path: String,
        owner: String,
        content: Content<'a>,
    ) -> Result<(), RenderError> {
        self.reserve(path.clone(), owner)?;
        self.files.insert(FileName::new(path), content);
        Ok(())
    }

    /// Gives a path to one owner: a file, or a folder that no other owner may use.
    fn reserve(&mut self, path: String, owner: String) -> Result<(), RenderError> {
        match self.owners.get(&path) {
            Some(first) => Err(RenderError::Clash { path, first: first.clone(), second: owner }),
            None => {
                self.owners.insert(path, owner);
                Ok(())
            }
        }
    }

    /// Ends with the files, or the clash of a file with a folder of the same path.
    fn finish(self) -> Result<FileSet<'a>, RenderError> {
        match self.file_that_is_a_folder() {
            Some(clash) => Err(clash),
            None => Ok(self.files),
        }
    }

    fn file_that_is_a_folder(&self) -> Option<RenderError> {
        let folders: BTreeSet<&str> = self.files.keys().flat_map(FileName::folders).collect();
        let file = self.files.keys().find(|file| folders.contains(file.as_str()))?;
        let inside = self.files.keys().find(|other| other.folders().any(|f| f == file.as_str()))?;
        let owner = |file: &FileName| self.owners.get(file.as_str()).cloned().unwrap_or_default();
        Some(RenderError::Clash {
            path: file.as_str().to_owned(),
            first: owner(file),
            second: owner(inside),
        })
    }
}

/// Renders `bundle` by `layout`, and the agent's own copy of the values.
pub fn render<'a>(bundle: &'a Bundle, layout: &Layout) -> Result<Rendering<'a>, RenderError> {
    let mut remarks = disagreements(bundle, layout.collision)?;
    remarks.extend(layout.decode.idle(bundle).into_iter().map(|glob| {
        format!("no key of the set matches the glob {glob} of SEGURA_DECODE: it decodes nothing")
    }));
    let mut claims = PathClaims { files: FileSet::new(), owners: BTreeMap::new() };
    if layout.files {
        files::render(bundle, &layout.decode, &mut claims)?;
    }
    let documents = [&layout.env, &layout.json, &layout.yaml, &layout.properties];
    let has_documents = documents.iter().any(|document| document.is_some());
    if has_documents || layout.environment || !layout.templates.is_empty() {
        // A document holds every value, so bytes that are not text are an error if there is one.
        let bare = if has_documents { NoText::Refused } else { NoText::LeftOut };
        let decoded = decoded(bundle, &layout.decode, bare)?;
        let texts = decoded.as_ref().unwrap_or(bundle);
        render_documents(texts, layout, &mut claims, &mut remarks)?;
        if layout.environment {
            environment::prove(texts, &layout.variables)?;
        }
        for made in layout.templates.render(texts, &layout.pod)? {
            let owner = format!("the template {}", made.file);
            claims.add(made.output.to_owned(), owner, Content::Made(made.content))?;
        }
    }
    let own = bundle::write(bundle);
    // A longer one could be published, but no start could adopt it.
    if u64::try_from(own.expose().len()).is_ok_and(|length| length > bundle::LONGEST) {
        return Err(RenderError::TooMuch);
    }
    claims.add(bundle::FILE.to_owned(), "the agent".to_owned(), Content::Made(own))?;
    Ok(Rendering { files: claims.finish()?, remarks })
}

/// Renders the documents, if there are any.
fn render_documents(
    bundle: &Bundle,
    layout: &Layout,
    claims: &mut PathClaims<'_>,
    remarks: &mut Vec<String>,
) -> Result<(), RenderError> {
    let mut add = |file: &String, owner: &str, bytes| {
        claims.add(file.clone(), owner.to_owned(), Content::Made(bytes))
    };
    if let Some(file) = &layout.env {
        let rendered = env::render(bundle, &layout.variables, layout.dialect)?;
        if !rendered.left_out.is_empty() {
            let names = rendered.left_out.join(", ");
            remarks.push(format!(
                "the env file omits empty variables, which the kubelet treats as missing: {names}"
            ));
        }
        add(file, "the env file", rendered.bytes)?;
    }
    if let Some(file) = &layout.json {
        add(file, "the JSON file", json::render(bundle))?;
    }
    if let Some(file) = &layout.yaml {
        add(file, "the YAML file", yaml::render(bundle))?;
    }
    if let Some(file) = &layout.properties {
        add(file, "the properties file", properties::render(bundle)?)?;
    }
    Ok(())
}

/// A copy with decoded base64; none if no glob is set.
fn decoded(
    bundle: &Bundle,
    decode: &decode::Decode,
    bare: NoText,
) -> Result<Option<Bundle>, RenderError> {
    if decode.is_empty() {
        return Ok(None);
    }
    let secrets = bundle.secrets.iter().map(|(name, set)| {
        let entries = decode.entries(name, &set.entries, bare)?;
        Ok((name.clone(), set.with(entries)))
    });
    Ok(Some(Bundle { secrets: secrets.collect::<Result<_, _>>()?, ..Bundle::default() }))
}

fn disagreements(bundle: &Bundle, collision: Collision) -> Result<Vec<String>, RenderError> {
    let mut remarks = Vec::new();
    for (identity, set) in &bundle.secrets {
        let keys = set.collisions();
        if keys.is_empty() {
            continue;
        }
        let keys = keys.join(", ");
        match collision {
            Collision::Last => remarks.push(format!(
                "entries of {identity} have different values for {keys}: the key gets the last entry's value, and each entry is published under its number too"
            )),
            Collision::Refuse => {
                return Err(RenderError::Disagreement { identity: identity.clone(), keys });
            }
        }
    }
    Ok(remarks)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{Item, SecretName, SecretSet};

    /// Identity, entries, and the key and value of each item.
    pub(crate) type Written<'a> = (&'a str, &'a [&'a [(&'a str, &'a str)]]);

    /// A bundle of these secrets.
    pub(crate) fn bundle(secrets: &[Written<'_>]) -> Bundle {
        let secrets = secrets.iter().map(|(identity, entries)| {
            let entry = |items: &&[(&str, &str)]| {
                let item = |(key, value): &(&str, &str)| Item {
                    key: (*key).to_owned(),
                    value: Secret::new((*value).to_owned()),
                };
                items.iter().map(item).collect()
            };
            let set = SecretSet {
                id: "1".to_owned(),
                name: (*identity).to_owned(),
                version: "1".to_owned(),
                engine: "Generic".to_owned(),
                expiration: String::new(),
                renew: None,
                entries: entries.iter().map(entry).collect(),
            };
            (SecretName::new(*identity).unwrap(), set)
        });
        Bundle { secrets: secrets.collect(), ..Bundle::default() }
    }

    pub(crate) fn pod() -> PodIdentity {
        PodIdentity {
            name: "web-0".to_owned(),
            uid: None,
            namespace: Some("shop".to_owned()),
            deploy: "web".to_owned(),
        }
    }

    pub(crate) fn layout(outputs: &str) -> Layout {
        let has = |output: &str| outputs.split(',').any(|o| o == output);
        Layout {
            files: has("files"),
            env: has("env").then(|| "secrets.env".to_owned()),
            dialect: env::Dialect::Shell,
            json: has("json").then(|| "secrets.json".to_owned()),
            yaml: has("yaml").then(|| "secrets.yaml".to_owned()),
            properties: has("properties").then(|| "secrets.properties".to_owned()),
            templates: template::Templates::default(),
            pod: pod(),
            environment: has("environment"),
            variables: name::Variables::new("{key}", name::Case::Keep).unwrap(),
            collision: Collision::Last,
            decode: decode::Decode::default(),
        }
    }

    fn shown(bundle: &Bundle, outputs: &str) -> Result<Vec<(String, String)>, RenderError> {
        let rendering = render(bundle, &layout(outputs))?;
        let visible = rendering.files.iter().filter(|(name, _)| !name.is_hidden());
        Ok(visible
            .map(|(name, content)| {
                (name.to_string(), String::from_utf8(content.expose().to_vec()).unwrap())
            })
            .collect())
    }

    fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned())).collect()
    }

    #[test]
    fn one_entry_is_one_folder_and_several_also_have_one_each() {
        let one = bundle(&[("a/b", &[&[("user", "u"), ("ip", "")]])]);
        assert_eq!(shown(&one, "files").unwrap(), pairs(&[("a/b/ip", ""), ("a/b/user", "u")]));

        let two = bundle(&[("db", &[&[("user", "a")], &[("user", "b"), ("pw", "x")]])]);
        let expected = pairs(&[
            ("db/1/user", "a"),
            ("db/2/pw", "x"),
            ("db/2/user", "b"),
            ("db/pw", "x"),
            ("db/user", "b"),
        ]);
        assert_eq!(shown(&two, "files").unwrap(), expected);
    }

    #[test]
    fn names_that_clash_are_refused_and_both_are_named() {
        let clash = |secrets: &[Written<'_>], outputs| {
            let bundle = bundle(secrets);
            match render(&bundle, &layout(outputs)) {
                Err(RenderError::Clash { path, first, second }) => {
                    assert!(!first.is_empty() && !second.is_empty() && first != second);
                    path
                }
                other => panic!("{other:?}"),
            }
        };
        let key_and_folder: &[Written<'_>] = &[("a", &[&[("b", "1")]]), ("a/b", &[&[("c", "2")]])];
        assert_eq!(clash(key_and_folder, "files"), "a/b");
        assert_eq!(clash(&[("a", &[&[("1", "x")], &[("k", "y")]])], "files"), "a/1");
        let entry_and_secret: &[Written<'_>] =
            &[("a", &[&[("k", "x")], &[("k", "y")]]), ("a/1", &[&[("z", "y")]])];
        assert_eq!(clash(entry_and_secret, "files"), "a/1");
        assert_eq!(clash(&[("secrets.json", &[&[("k", "v")]])], "files,json"), "secrets.json");
    }

    #[test]
    fn different_values_of_a_key_are_reported_or_refused_and_equal_ones_are_neither() {
        let two = bundle(&[("db", &[&[("u", "a"), ("h", "x")], &[("u", "b"), ("h", "x")]])]);
        let rendering = render(&two, &layout("files")).unwrap();
        let db = SecretName::new("db").unwrap();
        assert_eq!(rendering.remarks.len(), 1);
        assert!(rendering.remarks[0].starts_with("entries of db have different values for u: "));
        let strict = Layout { collision: Collision::Refuse, ..layout("files") };
        let refused = RenderError::Disagreement { identity: db, keys: "u".to_owned() };
        assert_eq!(render(&two, &strict).unwrap_err(), refused);
    }

    #[test]
    fn files_are_ordered_folder_by_folder() {
        let bundle = bundle(&[
            ("a", &[&[("x", "1")]]),
            ("a-b", &[&[("y", "2")]]),
            ("a/c", &[&[("z", "3")]]),
        ]);
        let names: Vec<String> =
            shown(&bundle, "files").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a/c/z", "a/x", "a-b/y"]);
    }

    #[test]
    fn no_failure_or_debug_output_holds_a_value() {
        let bundle = bundle(&[("db", &[&[("u", "canary\0")], &[("u", "canary2")]])]);
        let error = render(&bundle, &layout("files,env"));
        assert!(!format!("{error:?}").contains("canary"));
        let rendering = render(&bundle, &layout("files,json")).unwrap();
        assert!(!format!("{rendering:?} {bundle:?}").contains("canary"));
    }

    #[test]
    fn a_set_whose_own_copy_could_not_be_read_back_is_refused() {
        let most = usize::try_from(bundle::LONGEST).unwrap();
        let around = r#"{"a":[{"k":""}]}"#.len();
        for (length, expected) in
            [(most - around, None), (most - around + 1, Some(RenderError::TooMuch))]
        {
            let value = "v".repeat(length);
            let set = bundle(&[("a", &[&[("k", &value)]])]);
            assert_eq!(render(&set, &layout("files")).err(), expected, "{length}");
        }
    }
}
