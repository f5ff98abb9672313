//! Who has a database open, as far as can be seen from outside.

use std::path::Path;

use crate::instances::Instances;
use crate::options::SqliteOptions;

/// Other processes that have the database open, in words; servers by the names under which they hold turns.
/// SQLite's locks tell whether there are any, but not who.
pub(crate) fn list_users(options: &SqliteOptions) -> Vec<String> {
    let processes = list_processes(&options.path);
    if processes.is_empty() { Instances::beside(options).list_held() } else { processes }
}

/// Looks through what the processes of this machine hold open. Those of other users are seen by the
/// administrator alone.
#[cfg(target_os = "linux")]
fn list_processes(database: &Path) -> Vec<String> {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let (Some(wanted), Ok(processes)) = (identity(database), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let own = std::process::id();
    let has_it_open = |process: &Path| {
        let files = fs::read_dir(process.join("fd"));
        files.is_ok_and(|files| files.flatten().any(|file| identity(&file.path()) == Some(wanted)))
    };
    let describe = |entry: fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        if id == own || !has_it_open(&entry.path()) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("process {id} ({})", name.trim()))
    };
    processes.flatten().filter_map(describe).collect()
}

#[cfg(not(target_os = "linux"))]
fn list_processes(_database: &Path) -> Vec<String> {
    Vec::new()
}
