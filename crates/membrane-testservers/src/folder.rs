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

/// The folder of one server, with its data, its socket and its log.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    user: User,
}

impl Folder {
    /// Makes one, for the server `name`. Nothing removes it yet.
    pub(crate) fn make(name: &str) -> Result<Self, ServerError> {
        let user = User::of_servers()?;
        let place = place(user, &env::temp_dir());
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
