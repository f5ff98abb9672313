//! Other processes: who has a database open and what locks they hold, and who listens on a port. On Linux from
//! `/proc`; elsewhere it cannot be told, and `lsof` can.

use std::fmt;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its command line, without passwords.
    pub(crate) command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a process outside of this container");
        }
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// A process that has to do with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) process: Process,
    /// What it does with which file; the strongest first.
    pub(crate) doing: Vec<String>,
    /// Whether it keeps others from writing.
    pub(crate) blocks: bool,
}

/// Who has the database open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Holders {
    pub(crate) list: Vec<Holder>,
    /// How many processes could not be looked into.
    pub(crate) unseen: usize,
    /// Whether this system tells at all.
    pub(crate) can_tell: bool,
}

impl Holders {
    /// Whether this process is among them.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.list.iter().any(|holder| holder.process.pid == pid)
    }

    /// In words: all of them, or those that keep others from writing.
    pub(crate) fn in_words(&self, only_blocking: bool) -> String {
        let of = |holder: &&Holder| !only_blocking || holder.blocks;
        let words = self
            .list
            .iter()
            .filter(of)
            .map(|holder| format!("{} {}", holder.process, holder.doing.join(", ")));
        words.collect::<Vec<_>>().join("; ")
    }
}

/// Who has the database open, this process aside.
#[cfg(target_os = "linux")]
pub(crate) fn holders(path: &Path) -> Holders {
    linux::holders(path)
}

/// It cannot be told.
#[cfg(not(target_os = "linux"))]
pub(crate) fn holders(_path: &Path) -> Holders {
    Holders::default()
}

/// Who listens on a port of this machine, if that can be told.
#[cfg(target_os = "linux")]
pub(super) fn listener(port: u16) -> Option<Process> {
    linux::listener(port)
}

/// It cannot be told.
#[cfg(not(target_os = "linux"))]
pub(super) fn listener(_port: u16) -> Option<Process> {
    None
}

/// A command line on one line, short, and without the password of a URL, before its host or among its parameters.
#[cfg(any(target_os = "linux", test))]
fn shown(arguments: &[u8]) -> String {
    const LONGEST: usize = 160;
    let text = String::from_utf8_lossy(arguments);
    let words: Vec<String> = text.split('\0').filter(|word| !word.is_empty()).map(masked).collect();
    let line = crate::text::printable(&words.join(" ").replace(['\n', '\t'], " "));
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(any(target_os = "linux", test))]
fn masked(word: &str) -> String {
    let masked = (|| {
        let (scheme, rest) = word.split_once("://")?;
        let (authority, host) = rest.rsplit_once('@')?;
        let (user, _) = authority.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    })();
    let word = masked.unwrap_or_else(|| word.to_owned());
    let mut parts = word.split("password=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        let end = part.find(['&', ' ']).unwrap_or(part.len());
        format!("{line}password=***{}", part.get(end..).unwrap_or_default())
    })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::{Holder, Holders, Path, PathBuf, Process, shown};
    use crate::wiring::{self, Companion};

    /// A file of the database: what it is to SQLite (nothing, if it is a lock file of ours), and its name.
    struct Known {
        dev: u64,
        ino: u64,
        kind: Option<Companion>,
        name: String,
    }

    fn known(path: &Path) -> Vec<Known> {
        let mut paths: Vec<(Option<Companion>, PathBuf)> =
            wiring::companions(path).into_iter().map(|(kind, path)| (Some(kind), path)).collect();
        if let Some((_, database)) = paths.first().cloned()
            && let (Some(folder), Some(name)) = (database.parent(), database.file_name())
        {
            let prefix = format!("{}-instance-", name.to_string_lossy());
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    paths.push((None, entry.path()));
                }
            }
        }
        let known = paths.into_iter().filter_map(|(kind, path)| {
            let found = fs::metadata(&path).ok()?;
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(Known { dev: found.dev(), ino: found.ino(), kind, name })
        });
        known.collect()
    }

    pub(super) fn holders(path: &Path) -> Holders {
        let known = known(path);
        let (mut open, unseen) = open_files(&known);
        for lock in fs::read_to_string("/proc/locks").unwrap_or_default().lines().filter_map(Lock::parse) {
            let has_open = |index: &usize| open.get(&lock.pid).is_some_and(|files| files.contains_key(index));
            let found = known.iter().enumerate().find(|(index, file)| {
                file.ino == lock.ino && (lock.device == device(file.dev) || has_open(index))
            });
            let Some((index, file)) = found else { continue };
            if lock.pid == std::process::id() {
                continue;
            }
            let meaning = match file.kind {
                Some(kind) => wiring::lock_meaning(kind, lock.start, lock.end, lock.is_write),
                None => "is a server that lives",
            };
            let meanings = open.entry(lock.pid).or_default().entry(index).or_default();
            if !meanings.contains(&meaning) {
                meanings.push(meaning);
            }
        }
        let list = open.into_iter().map(|(pid, files)| holder(pid, &files, &known)).collect();
        Holders { list, unseen, can_tell: true }
    }

    fn holder(pid: u32, files: &BTreeMap<usize, Vec<&'static str>>, known: &[Known]) -> Holder {
        const BLOCKING: [&str; 3] =
            ["is writing", "has it for itself alone", "is reading the log after a crash"];
        let mut by_meaning: BTreeMap<(bool, &'static str), Vec<&str>> = BTreeMap::new();
        for (index, meanings) in files {
            let Some(file) = known.get(*index) else { continue };
            let meanings = if meanings.is_empty() { &vec!["has it open"] } else { meanings };
            for meaning in meanings {
                by_meaning.entry((!BLOCKING.contains(meaning), meaning)).or_default().push(&file.name);
            }
        }
        let blocks = by_meaning.keys().any(|(is_harmless, _)| !is_harmless);
        let doing =
            by_meaning.iter().map(|((_, meaning), names)| format!("{meaning} ({})", names.join(", ")));
        let doing = doing.collect();
        Holder { process: process(pid), doing, blocks }
    }

    /// Who has which of these files open, and how many processes do not tell.
    fn open_files(known: &[Known]) -> (BTreeMap<u32, BTreeMap<usize, Vec<&'static str>>>, usize) {
        let (mut open, mut unseen) = (BTreeMap::<u32, BTreeMap<usize, Vec<&'static str>>>::new(), 0);
        for pid in pids() {
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
                // Another user's, unless it has just ended.
                unseen += usize::from(Path::new(&format!("/proc/{pid}")).exists());
                continue;
            };
            for file in files.flatten() {
                let Ok(found) = fs::metadata(file.path()) else { continue };
                let same = |file: &Known| file.ino == found.ino() && file.dev == found.dev();
                if let Some(index) = known.iter().position(same) {
                    open.entry(pid).or_default().entry(index).or_default();
                }
            }
        }
        (open, unseen)
    }

    /// All processes but this one.
    fn pids() -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| *pid != std::process::id()).collect()
    }

    fn process(pid: u32) -> Process {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = if command.is_empty() {
            fs::read(format!("/proc/{pid}/comm")).unwrap_or_default()
        } else {
            command
        };
        Process { pid, command: shown(&command).trim().to_owned() }
    }

    /// A line of `/proc/locks`.
    #[derive(Debug, PartialEq, Eq)]
    struct Lock {
        is_write: bool,
        pid: u32,
        /// Major and minor number.
        device: (u64, u64),
        ino: u64,
        start: u64,
        end: u64,
    }

    impl Lock {
        /// `1: POSIX  ADVISORY  WRITE 4711 fd:00:123 120 120`; one that waits has an arrow and holds nothing.
        fn parse(line: &str) -> Option<Self> {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, kind, _, mode, pid, place, start, end] = words[..] else { return None };
            if kind == "->" {
                return None;
            }
            let mut place = place.split(':');
            let mut hex = || u64::from_str_radix(place.next()?, 16).ok();
            let device = (hex()?, hex()?);
            Some(Self {
                is_write: mode == "WRITE",
                // Those of other containers are 0 or negative.
                pid: pid.parse().unwrap_or(0),
                device,
                ino: place.next()?.parse().ok()?,
                start: start.parse().ok()?,
                end: if end == "EOF" { u64::MAX } else { end.parse().ok()? },
            })
        }
    }

    /// Major and minor number of a device, as Linux packs them.
    fn device(dev: u64) -> (u64, u64) {
        ((dev >> 8 & 0xfff) | (dev >> 32 & !0xfff), (dev & 0xff) | (dev >> 12 & !0xff))
    }

    pub(super) fn listener(port: u16) -> Option<Process> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
            let text = fs::read_to_string(table).ok()?;
            text.lines().skip(1).find_map(|line| listening(line, port))
        })?;
        let name = format!("socket:[{inode}]");
        let has = |pid: &u32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.to_str() == Some(&name))
        };
        pids().into_iter().find(has).map(process)
    }

    /// The socket of a line of the kernel's table, if it listens on this port.
    fn listening(line: &str, port: u16) -> Option<u64> {
        const LISTEN: &str = "0A";
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let (_, found) = local.rsplit_once(':')?;
        (*state == LISTEN && u16::from_str_radix(found, 16) == Ok(port)).then(|| inode.parse().ok())?
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lines_of_the_kernel_are_read() {
            let lock = Lock::parse("1: POSIX  ADVISORY  WRITE 4711 fd:0a:123 120 EOF").unwrap();
            let expected =
                Lock { is_write: true, pid: 4711, device: (0xfd, 0xa), ino: 123, start: 120, end: u64::MAX };
            assert_eq!(lock, expected);
            assert_eq!(Lock::parse("1: -> POSIX  ADVISORY  WRITE 4711 fd:0a:123 120 120"), None);
            assert_eq!(Lock::parse("nonsense"), None);
            let line = "   0: 0100007F:21C2 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 98765 1 0";
            assert_eq!(listening(line, 8642), Some(98765));
            assert_eq!(listening(line, 8643), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_without_its_password() {
        let line = b"membrane\0--database-url\0postgres://me:secret@host/db\0serve\0";
        assert_eq!(shown(line), "membrane --database-url postgres://me:***@host/db serve");
        let line = b"membrane\0--database-url\0postgres:///db?password=s@e:cret&user=me\0serve\0";
        assert_eq!(shown(line), "membrane --database-url postgres:///db?password=***&user=me serve");
        let line = b"membrane\0--database-url\0host=h password=secret user=me\0";
        assert_eq!(shown(line), "membrane --database-url host=h password=*** user=me");
        assert_eq!(shown(&[b'x'; 500]).chars().count(), 161);
    }
}
