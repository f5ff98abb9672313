//! Who is alive: each instance holds an operating system's lock on a file of its own beside the database,
//! which ends with the process, however that ends.
//!
//! The database itself is never locked here, and nothing is ever written into these files. What an
//! instance owns is not here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use membrane_core::ids::InstanceId;
use membrane_store::StoreError;
use sha2::{Digest, Sha256};

use crate::connection::real_path;
use crate::error::{FileDoing, RETRY_AFTER};
use crate::options::SqliteOptions;

const SUFFIX: &str = ".lock";

/// The longest id that is part of a file's name as it is; ids of our own making have 41 bytes.
const MAX_PLAIN: usize = 64;

/// Between two tries for a lock that a look or a sweep holds for some microseconds.
const PAUSE: Duration = Duration::from_millis(2);

/// The instances of one store, and where the files of all are.
#[derive(Debug)]
pub(crate) struct Instances {
    folder: PathBuf,
    /// How the files' names begin.
    prefix: OsString,
    patience: Duration,
    /// `None` once the store is closed.
    held: Mutex<Option<BTreeMap<InstanceId, Held>>>,
}

/// A locked file. Dropping it removes the file, then lets go of it.
#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.file, &self.path) {
            // Another instance sweeps it.
            tracing::debug!(%error, path = %self.path.display(), "an instance's lock file stays behind");
        }
    }
}

impl Instances {
    /// The instances beside a database, which is there.
    pub(crate) fn beside(options: &SqliteOptions) -> Self {
        let database = real_path(&options.path);
        let mut prefix = database.file_name().map(OsStr::to_owned).unwrap_or_default();
        prefix.push("-instance-");
        Self {
            folder: database.parent().map(Path::to_owned).unwrap_or_default(),
            prefix,
            patience: options.busy_timeout,
            held: Mutex::new(Some(BTreeMap::new())),
        }
    }

    /// Holds an instance until [`Instances::let_go`]; sweeps what killed ones left behind.
    pub(crate) fn hold(&self, id: &InstanceId) -> Result<(), StoreError> {
        let path = self.path(id);
        let until = Instant::now() + self.patience;
        while !self.is_held_here(id)? {
            if let Some(file) = try_hold(&path)? {
                let held = Held { file, path };
                self.lock().as_mut().ok_or(StoreError::Closed)?.insert(id.clone(), held);
                self.sweep();
                return Ok(());
            }
            if Instant::now() >= until {
                let reason = "another store holds an instance of the same id";
                return Err(StoreError::Unavailable { reason: reason.into(), retry_after: RETRY_AFTER });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Those that nobody holds, in the order given. What they left behind is swept, so that it does not stay until
    /// somebody new comes.
    pub(crate) fn list_dead(&self, among: &[InstanceId]) -> Result<Vec<InstanceId>, StoreError> {
        let mut is_held = Vec::with_capacity(among.len());
        for id in among {
            is_held.push(self.is_held_here(id)? || is_locked(&self.path(id))?);
        }
        if is_held.contains(&true) {
            // A dead one's file may have been locked by a sweep that is removing it. No sweep lasts this long.
            std::thread::sleep(PAUSE);
        }
        for (id, is_held) in among.iter().zip(&mut is_held) {
            *is_held = *is_held && (self.is_held_here(id)? || is_locked(&self.path(id))?);
        }
        if is_held.contains(&false) {
            self.sweep();
        }
        let dead = among.iter().zip(is_held).filter(|(_, is_held)| !is_held);
        Ok(dead.map(|(id, _)| id.clone()).collect())
    }

    /// Those that somebody holds, by the names of their files.
    pub(crate) fn list_held(&self) -> Vec<String> {
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let is_held = |entry: &fs::DirEntry| is_locked(&entry.path()).unwrap_or(false);
        entries
            .flatten()
            .filter(|entry| self.is_ours(&entry.file_name()) && is_held(entry))
            .map(|entry| format!("whoever holds {}", entry.path().display()))
            .collect()
    }

    /// Lets go of all instances, and refuses to hold more.
    pub(crate) fn let_go(&self) {
        let held = self.lock().take();
        // Outside of the lock: it removes files.
        drop(held);
    }

    fn is_held_here(&self, id: &InstanceId) -> Result<bool, StoreError> {
        self.lock().as_ref().map(|held| held.contains_key(id)).ok_or(StoreError::Closed)
    }

    /// A poisoned lock is as good: it is held for a look or an insertion.
    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<InstanceId, Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of an instance. An id that could be read as something else than a plain name, or that some
    /// file system would not tell from another, takes part by its hash; `_` stands in no plain one.
    fn path(&self, id: &InstanceId) -> PathBuf {
        let id = id.as_str();
        let mut name = self.prefix.clone();
        if (1..=MAX_PLAIN).contains(&id.len()) && id.bytes().all(is_plain) {
            name.push(id);
        } else {
            name.push("sha256_");
            for byte in Sha256::digest(id.as_bytes()) {
                name.push(format!("{byte:02x}"));
            }
        }
        name.push(SUFFIX);
        self.folder.join(name)
    }

    /// Removes the files that nobody holds. What cannot be removed stays for the next one.
    fn sweep(&self) {
        // An empty name is the current folder.
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(%error, folder = %folder.display(), "no sweep for lock files");
                return;
            }
        };
        for entry in entries.flatten().filter(|entry| self.is_ours(&entry.file_name())) {
            let path = entry.path();
            // Nothing that holds anything is one of these files, whatever its name.
            let is_empty = entry.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
            if !is_empty {
                continue;
            }
            let removed = match File::open(&path) {
                Ok(file) if file.try_lock().is_ok() => remove(&file, &path),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!(%error, path = %path.display(), "a lock file that nobody holds stays");
            }
        }
    }

    fn is_ours(&self, name: &OsStr) -> bool {
        let middle = name
            .as_encoded_bytes()
            .strip_prefix(self.prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        middle.is_some_and(|id| id.iter().all(|byte| is_plain(*byte) || *byte == b'_'))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// Locks the file, made if it is missing; `None` while somebody else has it locked, or has just removed it.
pub(crate) fn try_hold(path: &Path) -> Result<Option<File>, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .doing("make an instance's lock file", path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error).doing(LOCKING, path),
    }
    // A sweep may have found it between the two, and removed it.
    let is_there = is_at(&file, path).doing("look for an instance's lock file", path)?;
    Ok(is_there.then_some(file))
}

/// Whether somebody holds the file. The lock is shared, so that two who look at once do not take each other
/// for its holder.
fn is_locked(path: &Path) -> Result<bool, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).doing("open an instance's lock file", path),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).doing(LOCKING, path),
    }
}

const LOCKING: &str = "lock an instance's file, for which its file system must support locks";

/// Removes a file that the caller has locked. Nobody else removes it meanwhile: for that it takes the lock.
fn remove(locked: &File, path: &Path) -> io::Result<()> {
    if is_at(locked, path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Whether the path still names this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the path still names this file: elsewhere there is no way to tell.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail where there is a way to tell")]
fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(folder: &Path) -> Instances {
        Instances::beside(&SqliteOptions {
            busy_timeout: Duration::from_millis(20),
            ..SqliteOptions::at(folder.join("keep.db"))
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_id_never_becomes_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let instances = beside(folder.path());
        let plain = instances.path(&InstanceId::from_stored("instance-0f"));
        assert_eq!(plain.file_name().unwrap(), "keep.db-instance-instance-0f.lock");
        let long = "a".repeat(MAX_PLAIN + 1);
        for odd in ["", "../../etc/passwd", "/tmp/x", "A", "a\0", "ä", "sha256_", "a.lock", &long] {
            let path = instances.path(&InstanceId::from_stored(odd));
            assert_eq!(path.parent(), plain.parent(), "{odd:?}");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("keep.db-instance-sha256_"), "{name}");
            assert_eq!(name.len(), "keep.db-instance-sha256_.lock".len() + 64);
        }
    }

    #[test]
    fn a_file_that_was_removed_before_it_was_locked_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let between = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&between, &path).unwrap());
        fs::write(&path, "").unwrap();
        assert!(!is_at(&between, &path).unwrap(), "another file of the same name is another one");
        remove(&between, &path).unwrap();
        assert!(path.exists(), "what is not the locked file is not removed");
        let held = try_hold(&path).unwrap().unwrap();
        assert!(is_at(&held, &path).unwrap());
    }

    #[test]
    fn a_sweep_removes_what_nobody_holds_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ["keep.db-instance-a.lock", "keep.db-instance-sha256_00.lock"];
        let others = [
            "keep.db",
            "keep.db-instance-.hidden.lock",
            "keep.db-instance-b.locks",
            "other.db-instance-a.lock",
        ];
        for name in ours.iter().chain(&others) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let full = "keep.db-instance-full.lock";
        fs::write(folder.path().join(full), "somebody's").unwrap();
        let alive = beside(folder.path());
        alive.hold(&InstanceId::from_stored("alive")).unwrap();
        let mut expected: Vec<_> = others.iter().map(|name| (*name).to_owned()).collect();
        expected.extend([full.to_owned(), "keep.db-instance-alive.lock".to_owned()]);
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        let another = beside(folder.path());
        another.hold(&InstanceId::from_stored("another")).unwrap();
        drop(another);
        assert_eq!(names(folder.path()), expected, "the file of a live one stays, the own one goes");
    }

    #[test]
    fn one_id_is_held_by_one_store_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (beside(folder.path()), beside(folder.path()));
        let id = InstanceId::from_stored("a");
        first.hold(&id).unwrap();
        first.hold(&id).unwrap();
        assert!(matches!(second.hold(&id), Err(StoreError::Unavailable { .. })));
        assert_eq!(second.list_dead(std::slice::from_ref(&id)).unwrap(), []);
        first.let_go();
        assert!(matches!(first.hold(&id), Err(StoreError::Closed)));
        second.hold(&id).unwrap();
    }

    #[test]
    fn what_cannot_be_made_or_locked_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let instances = beside(&folder.path().join("gone"));
        let Err(StoreError::Backend { doing, source }) = instances.hold(&InstanceId::from_stored("a")) else {
            panic!("there is no folder")
        };
        assert_eq!(doing, "make an instance's lock file");
        assert!(source.to_string().contains("keep.db-instance-a.lock"), "{source}");
        assert!(source.source().is_some(), "what the system said");
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).doing(LOCKING, folder.path());
        assert!(matches!(full, Err(StoreError::StorageFull)));
    }
}
