//! What `membrane config` shows: every key, what it has, where that came from. Passwords and other secrets are
//! masked here, so that nobody who prints can forget it.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::names;
use super::origin::Origin;
use super::reader::Known;

/// What stands for a secret.
const MASK: &str = "***";

/// All keys, in the order of the documentation.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) entries: Vec<Entry>,
    /// Where the file is looked for, and whether it is there; nothing if there is no home folder.
    pub(crate) file: Option<(PathBuf, bool)>,
}

/// A key with what it has; safe to print.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) value: Json,
    pub(crate) origin: Origin,
}

impl Entry {
    pub(super) fn new(key: &'static str, value: Json, origin: Origin) -> Self {
        let value = if names::is_secret(key) && !value.is_null() { json!(MASK) } else { value };
        Self { key, value, origin }
    }
}

impl From<Known> for Entry {
    fn from(known: Known) -> Self {
        Self::new(known.key, known.value, known.origin)
    }
}

/// A database's path as it may be shown. What looks like a URL with a password was probably meant as one.
pub(super) fn masked_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let (scheme, rest) = text.split_once("://").map_or(("", &*text), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let (authority, after) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    let authority =
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => format!("{user}:{MASK}@{host}"),
            None => authority.to_owned(),
        };
    format!("{scheme}{separator}{authority}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_path_is_masked_and_any_other_path_stays() {
        for (path, shown) in [
            ("/home/me/a@b:c.db", "/home/me/a@b:c.db"),
            ("me@host.db", "me@host.db"),
            ("C:\\keep.db", "C:\\keep.db"),
            ("me:secret@host/db", "me:***@host/db"),
            ("me:se@cr:et@host:1/db", "me:***@host:1/db"),
            ("x://me:secret@host/db", "x://me:***@host/db"),
            ("ü.db", "ü.db"),
        ] {
            assert_eq!(masked_path(Path::new(path)), shown);
        }
    }

    #[test]
    fn a_secret_is_masked_unless_it_is_not_set() {
        let entry = |key, value| Entry::new(key, value, Origin::Default).value;
        assert_eq!(entry("chat.model.api_key", json!("sk-1")), json!(MASK));
        assert_eq!(entry("chat.model.api_key", Json::Null), Json::Null);
        assert_eq!(entry("chat.model.name", json!("n")), json!("n"));
    }
}
