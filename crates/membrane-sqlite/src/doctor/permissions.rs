//! Who may read and write what belongs to the database.

use std::path::Path;

use super::verdict::Check;

const NAME: &str = "permissions";

/// What is looked at, and whether it must be writable.
#[cfg(unix)]
pub(super) fn look(path: &Path) -> Check {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{Access, access};

    use super::locks::{Companion, companions};

    let us = rustix::process::geteuid().as_raw();
    let folder = super::space::folder_of(path);
    let mut wrong = Vec::new();
    let mut others = Vec::new();
    if let Err(error) = access(&folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        wrong.push(format!("folder {}: {error}", folder.display()));
    }
    for (kind, file) in companions(path) {
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        if let Err(error) = access(&file, Access::READ_OK | Access::WRITE_OK) {
            wrong.push(format!("{}: {error}", file.display()));
        }
        if metadata.uid() != us && kind != Companion::Journal {
            others.push(format!("{} belongs to user {}", file.display(), metadata.uid()));
        }
    }
    if !wrong.is_empty() {
        let found = format!("user {us} may not read and write everything: {}", wrong.join("; "));
        let remedy = format!(
            "ls -ld {0} {1}*; run membrane as the owner, or: chown -R $(id -u) {1}*",
            folder.display(),
            path.display()
        );
        return Check::problem(NAME, found, remedy);
    }
    if !others.is_empty() {
        let found = format!("all may be read and written by user {us}, but {}", others.join("; "));
        return Check::note(NAME, found).with_remedy("run membrane always as one user");
    }
    Check::ok(NAME, format!("the folder and the files may be read and written by user {us}"))
}

/// Elsewhere the system does not say it beforehand.
#[cfg(not(unix))]
pub(super) fn look(path: &Path) -> Check {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().readonly() => Check::problem(
            NAME,
            format!("{} may not be written to", path.display()),
            format!("attrib -R {}", path.display()),
        ),
        _ => Check::ok(NAME, "the file is not marked as read-only"),
    }
}
