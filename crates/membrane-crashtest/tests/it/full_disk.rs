//! A disk that is really full, and has room again.
//!
//! Not here: how the small disk comes about (`membrane_crashtest::small_disk`).

use membrane_crashtest::campaign::{DATABASE, Target};
use membrane_crashtest::entry::Entry;
use membrane_crashtest::small_disk::{SmallDiskError, on_small_disk};
use rusqlite::{Connection, ErrorCode};

use crate::bare::{self, Bare};

const DISK_BYTES: u64 = 8 << 20;

#[test]
fn a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_goes_on_when_there_is_room() {
    let test =
        "full_disk::a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_goes_on_when_there_is_room";
    let said = on_small_disk(test, DISK_BYTES, |disk| {
        let target = Bare::SOUND;
        let database = disk.path().join(DATABASE);
        let open = target.open(&database, "unix", 1).unwrap();
        let mut acknowledged = Vec::new();
        let mut append = || {
            let entry = Entry { writer: 0, number: acknowledged.len() as u64 + 1 };
            let outcome = target.append(&open, entry);
            if outcome.is_ok() {
                acknowledged.push(entry);
            }
            (acknowledged.clone(), outcome)
        };
        for _ in 0..20 {
            append().1.unwrap();
        }

        let ballast = disk.fill("ballast", 256 << 10).unwrap();
        assert!(ballast.n_bytes() < DISK_BYTES, "the disk must be small");
        let failure = (0..10_000).find_map(|_| append().1.err()).expect("the disk must become full");
        let error = failure.downcast_ref::<rusqlite::Error>().expect("an error of SQLite's");
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
        let (kept_while_full, outcome) = append();
        outcome.expect_err("the disk is still full");

        // A reader of its own sees everything that was acknowledged, and no more.
        let listed = bare::list(&Connection::open(&database).unwrap()).unwrap();
        assert_eq!(listed, kept_while_full);
        assert!(listed.len() > 20, "some writes must have fitted into the room that was left");

        ballast.remove().unwrap();
        for _ in 0..20 {
            append().1.expect("there is room again");
        }
        let (acknowledged, _) = append();
        drop(open);
        assert_eq!(target.survivors(&database).unwrap(), acknowledged);
        println!(
            "campaign: full_disk target=bare disk_bytes={DISK_BYTES} acknowledged={} before_full={} lost=0",
            acknowledged.len(),
            kept_while_full.len()
        );
    })
    .unwrap_or_else(|error| panic!("{error}"));
    println!("{said}");
}

#[test]
fn a_test_that_fails_on_the_small_disk_fails_outside() {
    let test = "full_disk::a_test_that_fails_on_the_small_disk_fails_outside";
    let outcome = on_small_disk(test, DISK_BYTES, |_| panic!("this must be seen outside"));
    let error = outcome.expect_err("the inner run panicked");
    assert!(matches!(error, SmallDiskError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("this must be seen outside"), "{error}");
}

#[test]
fn a_test_that_does_not_exist_is_no_success() {
    let outcome = on_small_disk("full_disk::no_such_test", DISK_BYTES, |_| {});
    assert!(matches!(outcome, Err(SmallDiskError::NoSuchTest { .. })), "{outcome:?}");
}
