//! A hidden folder beside a file that is to come, where it is made until it is worth its name.
//!
//! It goes with its value. One that a killed process left behind holds a lock file that nobody has locked, and is
//! removed by the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::BackupError;
use crate::instances::try_hold;

const PREFIX: &str = ".membrane-copy-";
const LOCK: &str = "lock";

/// The name of the file that is being made.
const FILE: &str = "copy.db";

/// A folder for one new file. Dropping it removes the folder and what is in it.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: PathBuf,
    /// Where the folder is.
    beside: PathBuf,
    _lock: File,
}

impl Workshop {
    /// Makes one in the folder in which `target` is to be.
    pub(super) fn beside(target: &Path) -> Result<Self, BackupError> {
        let beside = folder_of(target);
        sweep(&beside);
        let mut number = 0_u32;
        loop {
            let folder = beside.join(format!("{PREFIX}{}-{number}", std::process::id()));
            number += 1;
            match make_private(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(BackupError::io(&beside, "make a folder for the copy in", error)),
            }
            match try_hold(&folder.join(LOCK)) {
                Ok(Some(lock)) => return Ok(Self { folder, beside, _lock: lock }),
                // A sweep took the folder for one that was left behind.
                Ok(None) => {}
                Err(_) if !folder.exists() => {}
                Err(error) => {
                    remove(&folder);
                    return Err(error.into());
                }
            }
        }
    }

    /// The file to make.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Syncs the file and gives it its name, which nobody else may have. It has it whole or not at all.
    pub(super) fn place_new(&self, target: &Path) -> Result<(), BackupError> {
        let file = self.file();
        sync(&file)?;
        match fs::hard_link(&file, target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::AlreadyThere { path: target.to_owned() });
            }
            Err(_) if target.symlink_metadata().is_ok() => {
                return Err(BackupError::AlreadyThere { path: target.to_owned() });
            }
            // A file system without links.
            Err(_) => fs::rename(&file, target)
                .map_err(|error| BackupError::io(target, "give the copy the name", error))?,
        }
        sync_folder(&self.beside)
    }

    /// Gives the file to the owner of `target`, with the same permissions.
    pub(super) fn take_owner_of(&self, target: &Path) -> Result<(), BackupError> {
        let failed = |error| BackupError::io(target, "give the new file the owner of", error);
        let (wanted, file) = (fs::metadata(target).map_err(failed)?, self.file());
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, chown};

            let own = fs::metadata(&file).map_err(failed)?;
            if (own.uid(), own.gid()) != (wanted.uid(), wanted.gid()) {
                chown(&file, Some(wanted.uid()), Some(wanted.gid())).map_err(failed)?;
            }
        }
        fs::set_permissions(&file, wanted.permissions()).map_err(failed)
    }

    /// Syncs the file and puts it in the place of `target`: at each moment the one or the other is there, whole.
    pub(super) fn replace(&self, target: &Path) -> Result<(), BackupError> {
        let file = self.file();
        sync(&file)?;
        fs::rename(&file, target)
            .map_err(|error| BackupError::io(target, "put the copy in the place of", error))?;
        sync_folder(&self.beside)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes what was written to the file safe.
pub(super) fn sync(file: &Path) -> Result<(), BackupError> {
    let synced = File::options().read(true).write(true).open(file).and_then(|file| file.sync_all());
    synced.map_err(|error| BackupError::io(file, "sync", error))
}

/// Makes a folder's new names safe. Elsewhere than on Unix there is no way to do so, nor a need.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| BackupError::io(folder, "sync", error))
}

/// What is copied may be private, and the system's usual permissions are not.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Removes the folders that killed processes left behind. What cannot be removed stays for the next one.
fn sweep(beside: &Path) {
    let Ok(entries) = fs::read_dir(beside) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let folder = entry.path();
        match File::open(folder.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_ok() => remove(&folder),
            Ok(_) => {}
            // Killed between two steps, or just being made: it goes if it is empty, and its maker makes another.
            Err(_) => drop(fs::remove_dir(&folder)),
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!(%error, folder = %folder.display(), "a folder for a copy stays behind");
    }
}
