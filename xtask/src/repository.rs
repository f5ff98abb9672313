//! The checkout: where it is, which files belong to it, which revision it stands at, and whether it changed.
//!
//! Not here: rules about the files (`tidy`).

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};
use crate::process::{git, text, variable};

/// The repository's root, where the workspace's manifest lies.
///
/// Cargo says it anew at every start. The path at the time of the build could be that of another checkout which
/// shares the target folder.
pub(crate) fn root() -> PathBuf {
    let here =
        variable("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map(Path::to_path_buf).unwrap_or(here)
}

/// Every file of the checkout that git keeps, or would keep: tracked ones and new ones that are not ignored.
/// Sorted, relative to `root`, without those that are deleted but not yet committed so.
///
/// # Errors
/// `git` does not run in `root`, or a file cannot be looked at.
pub(crate) fn files(root: &Path) -> Outcome<Vec<PathBuf>> {
    let listed = text(git(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from) {
        let exists =
            root.join(&path).try_exists().map_err(Failure::with_path("look at", &root.join(&path)))?;
        if exists {
            files.push(path);
        }
    }
    files.sort();
    // A file in a merge conflict is listed once per side.
    files.dedup();
    Ok(files)
}

/// The revision of the checkout: its commit, `-dirty` behind it if files differ from that, or `none` before
/// the first commit.
///
/// # Errors
/// `git` does not run in `root`.
pub(crate) fn revision(root: &Path) -> Outcome<String> {
    let changes = text(git(root).args(["status", "--porcelain"]))?;
    let Ok(commit) = text(git(root).args(["rev-parse", "--verify", "--quiet", "HEAD"])) else {
        return Ok("none".to_owned());
    };
    let mark = if changes.is_empty() { "" } else { "-dirty" };
    Ok(format!("{}{mark}", commit.trim()))
}

/// What every file of a checkout held at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, u64>);

impl Snapshot {
    /// Reads the whole checkout.
    ///
    /// # Errors
    /// `git` does not run in `root`, or a file cannot be read.
    pub(crate) fn take(root: &Path) -> Outcome<Self> {
        let mut contents = BTreeMap::new();
        for file in files(root)? {
            let bytes = match fs::read(root.join(&file)) {
                Ok(bytes) => bytes,
                // It went away since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::with_path("read", &root.join(&file))(error)),
            };
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            contents.insert(file, hasher.finish());
        }
        Ok(Self(contents))
    }

    /// The files that are new, gone or different in `later`, sorted.
    pub(crate) fn changes(&self, later: &Self) -> Vec<PathBuf> {
        let mut changed: Vec<PathBuf> = self
            .0
            .iter()
            .filter(|(file, content)| later.0.get(*file) != Some(*content))
            .map(|(file, _)| file.clone())
            .chain(later.0.keys().filter(|file| !self.0.contains_key(*file)).cloned())
            .collect();
        changed.sort();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(files: &[(&str, u64)]) -> Snapshot {
        Snapshot(files.iter().map(|(file, content)| (PathBuf::from(file), *content)).collect())
    }

    #[test]
    fn new_gone_and_different_files_are_changes_and_others_are_not() {
        let before = snapshot(&[("gone", 1), ("kept", 2), ("written", 3)]);
        let after = snapshot(&[("kept", 2), ("new", 1), ("written", 4)]);
        assert_eq!(before.changes(&after), ["gone", "new", "written"].map(PathBuf::from));
        assert_eq!(before.changes(&before), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_files_of_this_checkout_hold_this_file_and_nothing_that_was_built() {
        let files = files(&root()).expect("git lists the checkout");
        assert!(files.contains(&PathBuf::from("xtask/src/repository.rs")), "{files:?}");
        assert!(!files.iter().any(|file| file.starts_with("target")), "{files:?}");
    }
}
