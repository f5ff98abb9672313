//! The power goes at many points of a run with concurrent writers; what was acknowledged must be there.
//!
//! Not here: the machinery and the stores.

use std::path::{Path, PathBuf};

use membrane_crashtest::campaign::{self, Cutting, Failure, Target, Workload};
use membrane_crashtest::report::Report;
use membrane_crashtest::settings::Settings;

use membrane_sqlite::Synchronous;

use crate::bare::{Appending, Bare};
use crate::keep_target::KeepTarget;

/// Enough that a full campaign finds its points: every append leaves ten events or more in the recording.
const BARE_WORKLOAD: Workload = Workload { n_writers: 4, n_entries_each: 100 };

/// Four writers that share two sessions, and four that branch, six cycles each.
const KEEP_WORKLOAD: Workload = Workload { n_writers: 8, n_entries_each: 60 };

/// A campaign as the environment asks for it. A store that is expected to lose leaves no evidence.
fn run<T: Target>(target: &T, workload: Workload, evidence: Option<&Path>) -> Result<Report, Failure> {
    let settings = Settings::from_environment()?;
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("recorded");
    std::fs::create_dir(&root)?;
    let log = campaign::record(target, &root, workload)?;
    let cutting =
        Cutting { n_cuts: settings.n_cuts, seed: settings.seed, scratch: directory.path(), evidence };
    Ok(campaign::check(target, &log, cutting)?)
}

/// Where the first bad image of a test that fails is kept.
fn evidence(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_power_loss_at_any_point_keeps_every_acknowledged_row() {
    let evidence = evidence("power_loss_bare_full");
    let report = run(&Bare::SOUND, BARE_WORKLOAD, Some(&evidence)).unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{:#?}, the first bad image is in {}", report.findings, evidence.display());
    assert_eq!(report.n_acknowledged, 400);
}

#[test]
fn without_syncs_a_power_loss_is_caught_losing_acknowledged_rows() {
    let report = run(&Bare { synchronous: "OFF", ..Bare::SOUND }, BARE_WORKLOAD, None).unwrap();
    println!("{report}");
    assert!(report.n_lost > 0, "a store that never syncs must be caught: {report}");
    assert_eq!(
        report.n_bad_after_kill, 0,
        "a kill alone loses nothing, synced or not: {:#?}",
        report.findings
    );
}

#[test]
fn with_syncs_at_checkpoints_only_rows_are_caught_missing_and_none_torn() {
    let report = run(&Bare { synchronous: "NORMAL", ..Bare::SOUND }, BARE_WORKLOAD, None).unwrap();
    println!("{report}");
    assert!(report.n_lost > 0, "a store that answers before it syncs must be caught: {report}");
    assert_eq!(report.n_torn + report.n_invented + report.n_bad_after_kill, 0, "{:#?}", report.findings);
}

#[test]
fn an_append_in_two_transactions_is_caught_in_halves() {
    let report = run(&Bare { appending: Appending::InHalves, ..Bare::SOUND }, BARE_WORKLOAD, None).unwrap();
    println!("{report}");
    assert!(report.n_torn > 0 && report.n_bad_after_kill > 0, "halves must be caught: {report}");
    assert_eq!(report.n_lost + report.n_invented, 0, "{:#?}", report.findings);
}

#[test]
fn a_rollback_journal_whose_removal_is_not_synced_is_caught_undoing_acknowledged_rows() {
    let report = run(&Bare { journal_mode: "DELETE", ..Bare::SOUND }, BARE_WORKLOAD, None).unwrap();
    println!("{report}");
    assert!(report.n_lost > 0, "the removal of the journal commits, and FULL does not sync it: {report}");
    assert_eq!(report.n_torn + report.n_invented + report.n_bad_after_kill, 0, "{:#?}", report.findings);
}

#[test]
fn a_rollback_journal_whose_removal_is_synced_keeps_every_acknowledged_row() {
    let evidence = evidence("power_loss_bare_extra");
    let report = run(
        &Bare { journal_mode: "DELETE", synchronous: "EXTRA", ..Bare::SOUND },
        BARE_WORKLOAD,
        Some(&evidence),
    )
    .unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{:#?}, the first bad image is in {}", report.findings, evidence.display());
}

fn keep(synchronous: Synchronous) -> KeepTarget {
    KeepTarget { synchronous, n_entries_each: KEEP_WORKLOAD.n_entries_each }
}

#[test]
fn a_power_loss_at_any_point_keeps_every_acknowledged_turn_and_branch() {
    let evidence = evidence("power_loss_keep_full");
    let report = run(&keep(Synchronous::Full), KEEP_WORKLOAD, Some(&evidence)).unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{:#?}, the first bad image is in {}", report.findings, evidence.display());
    assert_eq!(report.n_acknowledged, 480);
}

#[test]
fn a_keep_without_syncs_is_caught_losing_acknowledged_turns() {
    let report = run(&keep(Synchronous::Off), KEEP_WORKLOAD, None).unwrap();
    println!("{report}");
    assert!(report.n_lost > 0, "a keep that never syncs must be caught: {report}");
    assert_eq!(
        report.n_bad_after_kill, 0,
        "a kill alone loses nothing, synced or not: {:#?}",
        report.findings
    );
}
