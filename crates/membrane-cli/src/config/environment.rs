//! The process's environment: the one place that reads it. What is set to nothing counts as not set.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// The folders of the XDG specification that have a default, and that default below the home folder.
const XDG_FOLDERS: [(&str, &str); 4] = [
    ("XDG_CACHE_HOME", ".cache"),
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_STATE_HOME", ".local/state"),
];

/// The variables as they were at the start.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(super) fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let variables = std::env::vars_os();
        // A name that is no text is kept in a form that can be complained of.
        Self(variables.map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect())
    }

    #[cfg(test)]
    pub(super) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect())
    }

    /// A variable that is set to something.
    pub(super) fn find(&self, name: &str) -> Result<Option<&str>, Failure> {
        let Some(value) = self.find_raw(name) else { return Ok(None) };
        let text =
            value.to_str().ok_or_else(|| Failure::usage("it is not text; set it to UTF-8").at(name))?;
        Ok(Some(text))
    }

    /// The names of those that are set to something and begin so.
    pub(super) fn names_with(&self, prefix: &'static str) -> impl Iterator<Item = &str> {
        let set = self.0.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, _)| name.as_str()).filter(move |name| name.starts_with(prefix))
    }

    pub(super) fn home(&self) -> Option<PathBuf> {
        self.find_raw("HOME").map(PathBuf::from)
    }

    /// Whether this names a folder that has a default.
    pub(super) fn is_xdg_folder(name: &str) -> bool {
        XDG_FOLDERS.iter().any(|(known, _)| *known == name)
    }

    /// A folder of the XDG specification, or its default; nothing without a home folder.
    pub(super) fn xdg_folder(&self, name: &str) -> Option<PathBuf> {
        // A relative path counts as unset: so says the specification.
        let set = self.find_raw(name).map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| {
            let (_, below_home) = XDG_FOLDERS.iter().find(|(known, _)| *known == name)?;
            Some(self.home()?.join(below_home))
        })
    }

    fn find_raw(&self, name: &str) -> Option<&OsString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xdg_folder_is_as_set_or_below_the_home_folder() {
        let set = [("XDG_CONFIG_HOME", "/xdg"), ("XDG_DATA_HOME", "relative"), ("XDG_CACHE_HOME", "")];
        let mut variables = set.to_vec();
        let folder = |variables: &[(&str, &str)], name| Environment::of(variables).xdg_folder(name);
        assert_eq!(folder(&variables, "XDG_CONFIG_HOME"), Some(PathBuf::from("/xdg")));
        assert_eq!(folder(&variables, "XDG_DATA_HOME"), None, "there is no home folder");
        variables.push(("HOME", "/me"));
        assert_eq!(folder(&variables, "XDG_DATA_HOME"), Some(PathBuf::from("/me/.local/share")));
        assert_eq!(folder(&variables, "XDG_CACHE_HOME"), Some(PathBuf::from("/me/.cache")));
        assert_eq!(folder(&variables, "XDG_STATE_HOME"), Some(PathBuf::from("/me/.local/state")));
        assert_eq!(folder(&variables, "XDG_RUNTIME_DIR"), None, "it has no default");
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_an_error_that_names_the_variable() {
        use std::os::unix::ffi::OsStringExt;
        let environment = Environment([("A".to_owned(), OsString::from_vec(vec![0xff]))].into());
        assert!(environment.find("A").unwrap_err().to_string().starts_with("A: "));
        assert!(environment.find("B").unwrap().is_none());
    }
}
