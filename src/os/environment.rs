//! The environment of a program that is started, as bytes.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Variables, in the order in which they were found. `Debug` shows none of them.
#[derive(Clone, Default)]
pub struct Environment(Vec<CString>);

impl Environment {
    /// Adds a variable, or replaces the one of its name. Leaves out a variable that no environment
    /// can hold: its name is empty or has a `=`, or either part has a NUL.
    pub fn set(&mut self, name: &OsStr, value: &OsStr) {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return;
        }
        let mut variable = Vec::with_capacity(name.len() + value.len() + 2);
        variable.extend_from_slice(name.as_bytes());
        variable.push(b'=');
        variable.extend_from_slice(value.as_bytes());
        let Ok(variable) = CString::new(variable) else { return };
        match self.position(name) {
            Some(at) => {
                if let Some(place) = self.0.get_mut(at) {
                    *place = variable;
                }
            }
            None => self.0.push(variable),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let variable = self.0.get(self.position(OsStr::new(name))?)?;
        variable.as_bytes().get(name.len() + 1..).map(OsStr::from_bytes)
    }

    /// Removes variables.
    pub fn remove(&mut self, names: &[&str]) {
        let gone =
            |variable: &CString| names.iter().any(|name| is_named(variable, name.as_bytes()));
        self.0.retain(|variable| !gone(variable));
    }

    /// Each variable as `NAME=value`.
    pub fn as_slice(&self) -> &[CString] {
        &self.0
    }

    fn position(&self, name: &OsStr) -> Option<usize> {
        self.0.iter().position(|variable| is_named(variable, name.as_bytes()))
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let whole = |(name, value): (OsString, OsString)| {
            let mut variable = name.into_vec();
            variable.push(b'=');
            variable.extend_from_slice(value.as_bytes());
            CString::new(variable).ok()
        };
        Self(variables.into_iter().filter_map(whole).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

fn is_named(variable: &CString, name: &[u8]) -> bool {
    let value = variable.as_bytes().strip_prefix(name);
    value.is_some_and(|rest| rest.first() == Some(&b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(environment: &Environment) -> Vec<&str> {
        environment.as_slice().iter().map(|variable| variable.to_str().unwrap()).collect()
    }

    #[test]
    fn variables_are_replaced_by_their_whole_names() {
        let pairs = [("PATHS", "x"), ("PATH", "a"), ("E", "")];
        let mut environment: Environment =
            pairs.into_iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
        assert_eq!(environment.get("PATH"), Some(OsStr::new("a")));
        assert_eq!((environment.get("PAT"), environment.get("E")), (None, Some(OsStr::new(""))));
        for (name, value) in
            [("PATH", "b=c"), ("NEW", "\n"), ("", "x"), ("A=B", "x"), ("NUL", "\0")]
        {
            environment.set(OsStr::new(name), OsStr::new(value));
        }
        assert_eq!(shown(&environment), ["PATHS=x", "PATH=b=c", "E=", "NEW=\n"]);
        environment.remove(&["PATH", "E", "OTHER"]);
        assert_eq!(shown(&environment), ["PATHS=x", "NEW=\n"]);
        assert_eq!(format!("{environment:?}"), "Environment(2 variables)");
    }
}
