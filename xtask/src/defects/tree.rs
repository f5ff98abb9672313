//! A copy of the checkout that may be broken, and made whole again.
//!
//! A file is written only where it differs, so that cargo rebuilds no more than what a defect touched. Not here:
//! what is done to the copy.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};
use crate::repository;

/// A copy of the checkout as it was at one moment.
pub(crate) struct Tree {
    folder: PathBuf,
    /// What belongs there, by path below the folder. In memory, so that edits of the checkout do not reach a run.
    files: BTreeMap<PathBuf, File>,
}

struct File {
    content: Vec<u8>,
    permissions: Permissions,
}

/// What cargo-nextest writes into a workspace; not part of the copy, and not swept away.
const LEFT_ALONE: &str = "target";

impl Tree {
    /// Reads the checkout at `root` and makes `folder` like it.
    ///
    /// # Errors
    /// git does not list the checkout, or a file cannot be read or written.
    pub(crate) fn copy(root: &Path, folder: &Path) -> Outcome<Self> {
        let mut files = BTreeMap::new();
        for path in repository::files(root)? {
            let from = root.join(&path);
            let content = fs::read(&from).map_err(Failure::with_path("read", &from))?;
            let permissions =
                fs::metadata(&from).map_err(Failure::with_path("look at", &from))?.permissions();
            files.insert(path, File { content, permissions });
        }
        let tree = Self { folder: folder.to_owned(), files };
        tree.restore()?;
        Ok(tree)
    }

    /// Where the copy is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Undoes whatever was done to the copy since it was made.
    ///
    /// # Errors
    /// A file cannot be read, written or removed.
    pub(crate) fn restore(&self) -> Outcome {
        fs::create_dir_all(&self.folder).map_err(Failure::with_path("make the folder", &self.folder))?;
        self.remove_strangers(Path::new(""))?;
        for (path, file) in &self.files {
            let to = self.folder.join(path);
            match fs::read(&to) {
                Ok(content) if content == file.content => continue,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let parent = to.parent().unwrap_or(&self.folder);
                    fs::create_dir_all(parent).map_err(Failure::with_path("make the folder", parent))?;
                }
                Err(error) => return Err(Failure::with_path("read", &to)(error)),
            }
            fs::write(&to, &file.content).map_err(Failure::with_path("write", &to))?;
            fs::set_permissions(&to, file.permissions.clone())
                .map_err(Failure::with_path("set the permissions of", &to))?;
        }
        Ok(())
    }

    /// Removes the files below `folder` that the checkout does not have.
    fn remove_strangers(&self, folder: &Path) -> Outcome {
        let there = self.folder.join(folder);
        for entry in fs::read_dir(&there).map_err(Failure::with_path("list", &there))? {
            let entry = entry.map_err(Failure::with_path("list", &there))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(Failure::with_path("look at", &entry.path()))?;
            if kind.is_dir() {
                if path != Path::new(LEFT_ALONE) {
                    self.remove_strangers(&path)?;
                }
            } else if !self.files.contains_key(&path) {
                fs::remove_file(entry.path()).map_err(Failure::with_path("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{git, text};

    /// A checkout of two files in a scratch folder of its own, removed when dropped.
    struct Checkout(PathBuf);

    impl Checkout {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(folder.join("src")).expect("a scratch folder");
            text(git(&folder).args(["init", "--quiet"])).expect("git init");
            fs::write(folder.join("src/lib.rs"), "//! whole\n").expect("a file");
            fs::write(folder.join("README.md"), "read me\n").expect("a file");
            fs::write(folder.join(".gitignore"), "/target\n").expect("a file");
            fs::create_dir_all(folder.join("target")).expect("a folder");
            fs::write(folder.join("target/built"), "built").expect("a file");
            Self(folder)
        }
    }

    impl Drop for Checkout {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("the scratch folder is ours");
        }
    }

    #[test]
    fn a_broken_copy_is_made_whole_and_untouched_files_are_not_written_again() {
        let checkout = Checkout::new("restore");
        let folder = checkout.0.join("target/copy");
        let tree = Tree::copy(&checkout.0, &folder).expect("a copy");
        assert!(!folder.join("target/built").exists(), "what is built is not copied");
        let written_at = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
        let untouched = written_at("README.md");

        fs::write(folder.join("src/lib.rs"), "//! broken\n").expect("a file");
        fs::write(folder.join("src/new.rs"), "//! stranger\n").expect("a file");
        fs::create_dir_all(folder.join("target/nextest")).expect("a folder");
        fs::write(folder.join("target/nextest/junit.xml"), "<x>").expect("a file");
        tree.restore().expect("it can be restored");

        assert_eq!(fs::read_to_string(folder.join("src/lib.rs")).expect("it is there"), "//! whole\n");
        assert!(!folder.join("src/new.rs").exists());
        assert!(folder.join("target/nextest/junit.xml").exists());
        assert_eq!(written_at("README.md"), untouched);
    }

    #[test]
    fn a_file_that_a_defect_removed_comes_back_and_edits_of_the_checkout_stay_out() {
        let checkout = Checkout::new("removed");
        let tree = Tree::copy(&checkout.0, &checkout.0.join("target/copy")).expect("a copy");
        fs::remove_file(tree.folder().join("src/lib.rs")).expect("it was copied");
        fs::write(checkout.0.join("src/lib.rs"), "//! edited meanwhile\n").expect("a file");
        tree.restore().expect("it can be restored");
        let text = fs::read_to_string(tree.folder().join("src/lib.rs")).expect("it is there again");
        assert_eq!(text, "//! whole\n");
    }
}
