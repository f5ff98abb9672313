//! Where a server lives: a temporary folder, which belongs to the user that the server runs as, and goes with it.
//!
//! Not here: who removes it ([`crate::guard`]).

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::ServerError;
use crate::user::User;

/// Where files are kept that exist only under `/dev`, in memory.
const MEMORY: &str = "/dev/shm";

/// How much has to be free there: the databases of the tests that run at once, many times over.
const MEMORY_FREE: u64 = 2 << 30;

/// What a server's data is to outlast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// The machine's end, if the server syncs.
    Disk,
    /// The server's end. A file is made in a fraction of the time, and a database is hundreds of them.
    Memory,
}

/// The folder of one server, with its data, its socket and its log.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    user: User,
}

impl Folder {
    /// Makes one, for the server `name`. Nothing removes it yet.
    pub(crate) fn make(name: &str, medium: Medium) -> Result<Self, ServerError> {
        let user = User::of_servers()?;
        let place = match medium {
            Medium::Memory if has_room(Path::new(MEMORY), MEMORY_FREE) => PathBuf::from(MEMORY),
            Medium::Memory | Medium::Disk => place(user, &env::temp_dir()),
        };
        let path = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o700))
            .prefix(&format!("membrane-{name}-"))
            .tempdir_in(&place)
            .map_err(ServerError::path("make a folder in", &place))?
            .keep();
        user.own(&path)?;
        Ok(Self { path, user })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn user(&self) -> User {
        self.user
    }

    /// Writes a file that the server alone may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, ServerError> {
        let path = self.path.join(name);
        let failed = || ServerError::path("write", &path);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        file.write_all(content.as_bytes()).map_err(failed())?;
        self.user.own(&path)?;
        Ok(path)
    }
}

/// The folder for temporary files, or `/tmp` if another user could not reach into that.
fn place(user: User, temporary: &Path) -> PathBuf {
    let is_open = |folder: &Path| fs::metadata(folder).is_ok_and(|of| of.permissions().mode() & 0o001 != 0);
    if user == User::Same || temporary.ancestors().all(is_open) {
        temporary.to_owned()
    } else {
        PathBuf::from("/tmp")
    }
}

/// Whether everybody may make files there, and there are so many bytes left.
fn has_room(folder: &Path, bytes: u64) -> bool {
    let is_open = fs::metadata(folder).is_ok_and(|of| of.permissions().mode() & 0o003 == 0o003);
    is_open
        && rustix::fs::statvfs(folder).is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) >= bytes)
}

#[test]
fn a_folder_has_room_if_it_is_there_open_and_not_full() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path();
    assert!(!has_room(&path.join("nowhere"), 0));
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("it is ours");
    assert!(!has_room(path, 0));
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert!(has_room(path, 1) && !has_room(path, u64::MAX));
}

#[test]
fn a_folder_that_another_user_cannot_reach_is_not_used_for_its_server() {
    let closed = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    let inner = closed.path().join("inner");
    fs::create_dir(&inner).expect("a folder can be made");
    assert_eq!(place(User::Same, &inner), inner);
    assert_eq!(place(User::Other { uid: 1, gid: 1 }, &inner), Path::new("/tmp"));
    assert_eq!(place(User::Other { uid: 1, gid: 1 }, Path::new("/usr")), Path::new("/usr"));
}
