//! The way back and forth: what was upgraded, exported as a V1 file and upgraded again shows the same.
//!
//! Not here: what an upgrade makes of an old file (`old_files`).

use std::path::Path;

use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::old_files::campaign::{Asked, Trial};
use membrane_crashtest::old_files::likeness::Likeness;
use membrane_crashtest::old_files::v1;
use membrane_sqlite::SqliteStore;
use membrane_sqlite::export::{ExportOptions, Selection, export_v1};
use rusqlite::Connection;

use crate::keep;
use crate::trials::{Campaign, Trying};
use crate::upgrader::{options, time_zone, with_causes};

const CAMPAIGN: Campaign = Campaign {
    test: "round_trip::an_upgraded_file_that_is_exported_and_upgraded_again_shows_the_same",
    form: "round_trip",
    full: 100,
    slice: 40,
};

/// Upgrades a file, and looks at it; exports it to `out` if there is one.
async fn upgrade(file: &Path, asked: Asked, out: Option<&Path>) -> Result<Likeness, Failure> {
    let store = SqliteStore::open(options(file, asked)?).await.map_err(|error| with_causes(&error))?;
    if let Some(out) = out {
        let options = ExportOptions { naive_zone: time_zone(asked.zone)?, selection: Selection::All };
        export_v1(&store, out, options).await.map_err(|error| with_causes(&error))?;
    }
    membrane::Store::close(&store).await?;
    Likeness::of(&Connection::open(file)?)
}

async fn there_and_back(seed: u64, number: u64, folder: &Path) -> Result<Trial, Failure> {
    let file = v1::invent(seed, number);
    let (path, out) = (folder.join(DATABASE), folder.join("out.db"));
    file.write(&path)?;
    let mut trial = Trial { what: format!("{:?}", file.temper), ..Trial::default() };
    trial.tally.n_files = 1;
    let asked = Asked { zone: file.zone, is_forced: true };
    match upgrade(&path, asked, Some(&out)).await {
        Ok(first) => {
            trial.tally.n_upgraded = 1;
            let second = upgrade(&out, asked, None).await?;
            trial.problems = first.differences(&second, 3);
        }
        // Tables of others in the way are `old_files`' concern.
        Err(refusal) => {
            trial.tally.n_refused = 1;
            trial.refusal = Some(refusal.to_string());
        }
    }
    trial.tally.n_lost = u64::from(!trial.problems.is_empty());
    Ok(trial)
}

fn trying() -> Result<Trying, Failure> {
    let runtime = keep::runtime()?;
    Ok(Box::new(move |seed, number, folder| runtime.block_on(there_and_back(seed, number, folder))))
}

#[test]
fn an_upgraded_file_that_is_exported_and_upgraded_again_shows_the_same() {
    let Some(heard) = CAMPAIGN.run(trying).unwrap() else { return };
    println!("{heard}");
    heard.must_be_clean();
}
