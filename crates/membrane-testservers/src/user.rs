//! As whom servers run: PostgreSQL and PgBouncer refuse to be root's, so root hands them to an ordinary user.
//!
//! Not here: what they run in ([`crate::folder`]).

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use crate::error::ServerError;

/// Users that root hands servers to; the first that the machine has.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user of a server and of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Who runs the tests.
    Same,
    /// Somebody else, because the tests run as root.
    Other { uid: u32, gid: u32 },
}

impl User {
    /// The user for servers here.
    pub(crate) fn of_servers() -> Result<Self, ServerError> {
        if !geteuid().is_root() {
            return Ok(Self::Same);
        }
        let users = Path::new("/etc/passwd");
        let text = fs::read_to_string(users).map_err(ServerError::path("read the users in", users))?;
        unprivileged(&text).ok_or_else(|| ServerError::Failed {
            doing: "choosing a user for a server, which refuses to run as root,".to_owned(),
            said: format!("none of the users {} is in /etc/passwd; add one", UNPRIVILEGED.join(", ")),
        })
    }

    /// Makes the command run as this user.
    pub(crate) fn run(self, command: &mut Command) -> &mut Command {
        match self {
            Self::Same => command,
            Self::Other { uid, gid } => command.uid(uid).gid(gid),
        }
    }

    /// Makes the file or folder this user's.
    pub(crate) fn own(self, path: &Path) -> Result<(), ServerError> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(ServerError::path("hand over to a server", path))
            }
        }
    }
}

fn unprivileged(passwd: &str) -> Option<User> {
    UNPRIVILEGED.iter().find_map(|wanted| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(*wanted)).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then_some(User::Other { uid, gid })
        })
    })
}

#[test]
fn root_hands_servers_to_postgres_or_else_to_nobody() {
    let both = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/x\npostgres:x:101:104::/:/x\n";
    assert_eq!(unprivileged(both), Some(User::Other { uid: 101, gid: 104 }));
    let one = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/x\n";
    assert_eq!(unprivileged(one), Some(User::Other { uid: 65534, gid: 65533 }));
    assert_eq!(unprivileged("root:x:0:0::/:/x\npostgres:broken\n"), None);
}
