//! The machine's processes: who is whose child, and who stands still.
//!
//! Not here: signals.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use rustix::process::Pid;

use crate::error::ServerError;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) pid: Pid,
    parent: Option<Pid>,
    /// As `ps` abbreviates it.
    state: char,
}

impl Row {
    /// Whether it does nothing until it is continued.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state == 'T'
    }

    /// Whether it has ended, and its parent has not looked yet.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The process `main`, if it lives, and its living children.
pub(crate) fn family(main: Pid) -> Result<Vec<Row>, ServerError> {
    let mut rows = all()?;
    rows.retain(|row| (row.pid == main || row.parent == Some(main)) && !row.is_dead());
    Ok(rows)
}

/// Those of the processes that live.
pub(crate) fn living(pids: &[Pid]) -> Result<Vec<Pid>, ServerError> {
    Ok(all()?.iter().filter(|row| pids.contains(&row.pid) && !row.is_dead()).map(|row| row.pid).collect())
}

/// All processes.
fn all() -> Result<Vec<Row>, ServerError> {
    if let Ok(entries) = fs::read_dir("/proc")
        && fs::exists("/proc/self/stat").unwrap_or(false)
    {
        let is_process = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        // A process may end between being listed and being looked at.
        let stats = entries
            .flatten()
            .filter(|entry| is_process(&entry.file_name()))
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        return Ok(stats.filter_map(|stat| parse_stat(&stat)).collect());
    }
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,state="])
        .output()
        .map_err(ServerError::io("list the processes with ps"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_ps).collect())
}

/// `12 (a name) S 1 …`, in which the name may hold anything.
fn parse_stat(stat: &str) -> Option<Row> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.chars().next()?;
    row(pid, words.next()?, state)
}

fn parse_ps(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace();
    let (pid, parent) = (words.next()?, words.next()?);
    row(pid, parent, words.next()?.chars().next()?)
}

fn row(pid: &str, parent: &str, state: char) -> Option<Row> {
    let parse = |word: &str| word.parse().ok().and_then(Pid::from_raw);
    Some(Row { pid: parse(pid)?, parent: parse(parent), state })
}

#[test]
fn a_process_is_read_whatever_its_name_is() {
    let pid = |number| Pid::from_raw(number);
    let read = parse_stat("12 (a) T 9 (b) S 7 1 1").expect("it is a row");
    assert_eq!((Some(read.pid), read.parent, read.state), (pid(12), pid(7), 'S'));
    let read = parse_ps("  12     7 T+").expect("it is a row");
    assert_eq!((Some(read.pid), read.parent, read.is_stopped()), (pid(12), pid(7), true));
}

#[test]
fn this_process_is_in_its_own_family_and_lives() {
    let own = rustix::process::getpid();
    assert!(family(own).expect("processes can be listed").iter().any(|row| row.pid == own));
    assert_eq!(living(&[own]).expect("processes can be listed"), [own]);
}
