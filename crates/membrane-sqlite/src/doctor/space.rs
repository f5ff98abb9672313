//! The file system that the database is on: room, and what it can do.

use std::path::{Path, PathBuf};

use super::verdict::Check;
#[cfg(unix)]
use super::verdict::size;

/// The nearest folder above the path that is there.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    let real = crate::connection::real_path(path);
    real.ancestors()
        .skip(1)
        .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .find(|folder| folder.is_dir())
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Below this there is hardly room for a commit.
#[cfg(unix)]
const LEAST: u64 = 16 << 20;

/// Free bytes and free names, against what the database takes.
#[cfg(unix)]
pub(super) fn look(path: &Path) -> Vec<Check> {
    const NAME: &str = "space";
    let folder = folder_of(path);
    let found = match rustix::fs::statvfs(&folder) {
        Ok(found) => found,
        Err(error) => {
            let what = format!("the file system of {} cannot be asked: {error}", folder.display());
            return vec![Check::note(NAME, what)];
        }
    };
    let mut checks = Vec::new();
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let what = format!("the file system of {} is mounted read-only", folder.display());
        let remedy = format!("mount -o remount,rw $(df --output=target {} | tail -1)", folder.display());
        checks.push(Check::problem("file system", what, remedy));
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let taken = crate::read::stats::bytes(path);
    let room = format!("{} free, the database takes {}", size(free), size(taken));
    let remedy = format!("make room on the file system: df -h {}", folder.display());
    // Some file systems have as many names as there is room, and say 0 of 0.
    if found.f_files > 0 && found.f_favail == 0 {
        let what = format!("no file can be made: all {} inodes are used", found.f_files);
        checks.push(Check::problem(NAME, what, format!("remove files: df -i {}", folder.display())));
    } else if free < LEAST {
        checks.push(Check::problem(NAME, room, remedy));
    } else if free < taken {
        let what = format!("{room}: an upgrade, a backup or a repair needs as much again");
        checks.push(Check::note(NAME, what).with_remedy(remedy));
    } else {
        checks.push(Check::ok(NAME, room));
    }
    checks.push(kind(&folder));
    checks
}

/// There is no way to ask.
#[cfg(not(unix))]
pub(super) fn look(_path: &Path) -> Vec<Check> {
    vec![Check::note("space", "how much room there is cannot be told on this system")]
}

/// What kind of file system it is, where that can be told.
#[cfg(target_os = "linux")]
fn kind(folder: &Path) -> Check {
    const NAME: &str = "file system";
    let remedy =
        "keep the database on a local disk: membrane backup FILE there, then name it with --database-url";
    let kind = match rustix::fs::statfs(folder) {
        Ok(found) => u64::from_ne_bytes(found.f_type.to_ne_bytes()) & 0xffff_ffff,
        Err(error) => return Check::note(NAME, format!("its kind cannot be told: {error}")),
    };
    let network = |name: &str| {
        let what = format!(
            "{name} is a network file system: it has neither the locks nor the shared memory that a write-ahead log needs"
        );
        Check::problem(NAME, what, remedy)
    };
    match kind {
        0x6969 => network("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => network("SMB"),
        0x5346_414f | 0x6b41_4653 => network("AFS"),
        0x7375_7245 => network("Coda"),
        0x00c3_6400 => network("Ceph"),
        0x0bd0_0bd0 => network("Lustre"),
        0x4750_4653 => network("GPFS"),
        0x0102_1997 => Check::note(
            NAME,
            "9P, which a virtual machine shares with its host: no process on the other side may use the database",
        ),
        0x6573_5546 => Check::note(NAME, "FUSE: whether locks and shared memory work is up to its server"),
        0x0102_1994 | 0x8584_58f6 => {
            Check::note(NAME, "memory: what is kept there goes with the next restart")
        }
        other => Check::ok(NAME, format!("local, kind {other:#x}")),
    }
}

/// There is no way to ask.
#[cfg(all(unix, not(target_os = "linux")))]
fn kind(_folder: &Path) -> Check {
    Check::note("file system", "its kind cannot be told on this system")
}
