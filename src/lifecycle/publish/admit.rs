//! Admission: tells the fetched secrets that can be rendered together from those that are held
//! back.

use std::collections::BTreeMap;

use crate::model::{Bundle, SecretName, SecretSet};
use crate::render::{Layout, RenderError, render};

/// The most renderings of one admission, so that a pass can't block the agent.
const MOST_RENDERINGS: usize = 100;

/// Adds to `good` those of `fresh` with which it can still be rendered; gives the errors of the
/// others.
///
/// A group that fails is halved until single secrets are at fault. Two secrets may have to change
/// together, so those held back are tried once more whenever others have been admitted.
pub fn admit(
    good: &mut Bundle,
    fresh: BTreeMap<SecretName, SecretSet>,
    layout: &Layout,
) -> BTreeMap<SecretName, RenderError> {
    let mut admission =
        Admission { good, layout, left: MOST_RENDERINGS, held_back: BTreeMap::new() };
    let mut group: Vec<_> = fresh.into_iter().collect();
    loop {
        let tried = group.len();
        admission.admit(group);
        let held_back = admission.held_back.len();
        if held_back < 2 || held_back == tried || admission.left == 0 {
            break;
        }
        let retried = std::mem::take(&mut admission.held_back);
        group = retried.into_iter().map(|(name, (set, _))| (name, set)).collect();
    }
    admission.held_back.into_iter().map(|(name, (_, error))| (name, error)).collect()
}

/// Lists the templates, by file, that can't be rendered with `good`.
pub fn failing_templates(good: &Bundle, layout: &Layout) -> Vec<String> {
    let mut files = Vec::new();
    let mut layout = layout.clone();
    while let Err(RenderError::Template { flaw }) = render(good, &layout) {
        layout = layout.without_template(flaw.file());
        files.push(flaw.file().to_owned());
    }
    files
}

struct Admission<'a> {
    good: &'a mut Bundle,
    layout: &'a Layout,
    /// The number of renderings that are left.
    left: usize,
    held_back: BTreeMap<SecretName, (SecretSet, RenderError)>,
}

impl Admission<'_> {
    fn admit(&mut self, group: Vec<(SecretName, SecretSet)>) {
        let mut before = Vec::new();
        let mut names = Vec::new();
        for (name, set) in group {
            before.push(self.good.secrets.insert(name.clone(), set));
            names.push(name);
        }
        self.left = self.left.saturating_sub(1);
        let Err(error) = render(self.good, self.layout) else {
            return;
        };
        let mut group = Vec::new();
        for (name, before) in names.into_iter().zip(before) {
            let new = match before {
                Some(before) => self.good.secrets.insert(name.clone(), before),
                None => self.good.secrets.remove(&name),
            };
            group.extend(new.map(|new| (name, new)));
        }
        if group.len() < 2 || self.left == 0 {
            self.held_back
                .extend(group.into_iter().map(|(name, new)| (name, (new, error.clone()))));
            return;
        }
        let second = group.split_off(group.len() / 2);
        self.admit(group);
        self.admit(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::name::{Case, Variables};
    use crate::render::template::Templates;
    use crate::render::tests::{bundle, layout};

    fn env() -> Layout {
        let variables = Variables::new("{identity}_{key}", Case::Keep).unwrap();
        Layout { variables, ..layout("files,env") }
    }

    fn held_back(good: &mut Bundle, new: Bundle, layout: &Layout) -> Vec<String> {
        admit(good, new.secrets, layout).keys().map(ToString::to_string).collect()
    }

    fn value(good: &Bundle, name: &str) -> Option<String> {
        let set = good.secrets.get(&SecretName::new(name).unwrap())?;
        Some(set.flat().get("k")?.expose().clone())
    }

    #[test]
    fn secrets_that_cannot_be_rendered_keep_their_last_good_version() {
        let mut good = bundle(&[
            ("a", &[&[("k", "old")]]),
            ("b", &[&[("k", "old")]]),
            ("c", &[&[("k", "old")]]),
        ]);
        let new = bundle(&[
            ("a", &[&[("k", "new")]]),
            ("b", &[&[("k", "nu\0l")]]),
            ("c", &[&[("k", "new")]]),
            ("d", &[&[("k", "nu\0l")]]),
            ("e", &[&[("k", "new")]]),
        ]);
        assert_eq!(held_back(&mut good, new, &env()), ["b", "d"]);
        for (name, expected) in [
            ("a", Some("new")),
            ("b", Some("old")),
            ("c", Some("new")),
            ("d", None),
            ("e", Some("new")),
        ] {
            assert_eq!(value(&good, name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn two_secrets_that_have_to_change_together_are_not_held_back_because_of_a_third() {
        let text = "{% if secrets.b.k != secrets.c.k %}{{ nobody }}{% endif %}";
        let text = text.replace("nobody", "secrets.b.nothing");
        let templates = Templates::new([("x.j2".to_owned(), text)]).unwrap();
        let layout = Layout { templates, ..env() };
        let all = |k: &'static str| {
            bundle(&[
                ("a", &[&[("k", "old")]]),
                ("b", &[&[("k", k)]]),
                ("c", &[&[("k", k)]]),
                ("d", &[&[("k", k)]]),
            ])
        };
        let mut good = all("old");
        let mut new = all("new");
        new.secrets.extend(bundle(&[("a", &[&[("k", "nu\0l")]])]).secrets);
        assert_eq!(held_back(&mut good, new, &layout), ["a"]);
        assert!(["b", "c", "d"].iter().all(|name| value(&good, name).as_deref() == Some("new")));
    }

    #[test]
    fn an_admission_without_a_sound_secret_is_soon_given_up() {
        let new: BTreeMap<_, _> = (0..1_000)
            .flat_map(|n| bundle(&[(&format!("s{n}"), &[&[("k", "nu\0l")]])]).secrets)
            .collect();
        let mut good = Bundle::default();
        assert_eq!(admit(&mut good, new, &env()).len(), 1_000);
        assert!(good.secrets.is_empty());
    }

    #[test]
    fn templates_that_a_set_cannot_be_rendered_with_are_listed() {
        let source = |file: &str, text: &str| (file.to_owned(), text.to_owned());
        let templates = Templates::new([
            source("a.j2", "{{ secrets.gone.k }}"),
            source("b.j2", "{{ secrets.a.k }}"),
            source("c.j2", "{{ secrets.a.gone }}"),
        ]);
        let layout = Layout { templates: templates.unwrap(), ..env() };
        let good = bundle(&[("a", &[&[("k", "v")]])]);
        assert_eq!(failing_templates(&good, &layout), ["a.j2", "c.j2"]);
    }
}
