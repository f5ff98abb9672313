//! A process that is killed is dead to the others at once; one that lives is not, whatever it does.
//!
//! Not here: what stores in one process see of each other, which is `membrane-sqlite`'s.

use std::path::Path;

use membrane::core::ids::InstanceId;
use membrane::{RandomIds, Store};
use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::child::{self, ChildProcess};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use crate::keep::{self, PATIENCE};

/// The child's side: holds an instance, says which, and lives until its input ends.
fn play(database: &str) -> Result<(), Failure> {
    keep::runtime()?.block_on(async {
        let store = SqliteStore::open(SqliteOptions::at(database)).await?;
        let id = InstanceId::generate(&RandomIds);
        store.hold_instance(&id).await?;
        child::say(id.as_str())?;
        while child::listen()?.is_some() {}
        Ok(store.close().await?)
    })
}

fn start(test: &str, database: &Path) -> Result<(ChildProcess, InstanceId), Failure> {
    let mut process = ChildProcess::start(test, &database.display().to_string())?;
    let id = process.hear(PATIENCE)?.ok_or("it ended before it held anything")?;
    Ok((process, InstanceId::from_stored(&id)))
}

#[test]
fn a_killed_process_is_dead_at_once_while_others_keep_the_file_open() {
    if let Some(role) = child::role() {
        return play(&role).unwrap();
    }
    let test = "killed_instances::a_killed_process_is_dead_at_once_while_others_keep_the_file_open";
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);
    keep::runtime().unwrap().block_on(async {
        let store = SqliteStore::open(SqliteOptions::at(&database)).await.unwrap();
        let own = InstanceId::generate(&RandomIds);
        store.hold_instance(&own).await.unwrap();
        let (killed, of_killed) = start(test, &database).unwrap();
        let (survivor, of_survivor) = start(test, &database).unwrap();
        let all = [own, of_killed.clone(), of_survivor.clone()];
        assert_eq!(store.list_dead_instances(&all).await.unwrap(), []);
        killed.kill().unwrap();
        let locks = || {
            let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().contains("-instance-")).count()
        };
        assert_eq!(locks(), 3, "a killed process removes nothing");
        assert_eq!(store.list_dead_instances(&all).await.unwrap(), std::slice::from_ref(&of_killed));
        assert_eq!(locks(), 2, "whoever finds it dead sweeps");
        let (next, of_next) = start(test, &database).unwrap();
        assert_eq!(locks(), 3);
        survivor.finish(PATIENCE).unwrap();
        let all = [of_next, of_killed, of_survivor];
        assert_eq!(store.list_dead_instances(&all).await.unwrap(), all[1..]);
        next.finish(PATIENCE).unwrap();
        store.close().await.unwrap();
        assert_eq!(locks(), 0);
    });
}
