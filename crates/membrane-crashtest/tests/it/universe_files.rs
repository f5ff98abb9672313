//! Universe files of every kind are imported whole, or refused; and never written to.
//!
//! Not here: making and judging files (`membrane_crashtest::old_files`).

use std::path::Path;

use membrane::core::time::{Clock, SystemClock};
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::old_files::campaign::Upgraded;
use membrane_crashtest::old_files::imports::{Importer, try_universe};
use membrane_sqlite::SqliteOptions;
use membrane_sqlite::universe::UniverseSource;
use membrane_store::kgents::LoadOptions;
use tokio::runtime::Runtime;

use crate::keep;
use crate::trials::{Campaign, Trying};
use crate::upgrader::{account, with_causes};

/// Imports as the command line does.
struct Importing {
    runtime: Runtime,
}

impl Importer for Importing {
    fn import(&self, universe: &Path, keep: &Path) -> Result<Upgraded, String> {
        self.runtime.block_on(async {
            let source = UniverseSource::open(universe, &mut |_| {}).map_err(|error| with_causes(&error))?;
            let chat = keep::open(SqliteOptions::at(keep)).await.map_err(|error| error.to_string())?;
            let options = LoadOptions { naive_zone: jiff::tz::TimeZone::UTC, now: SystemClock.now() };
            let imported = chat.import(Box::new(source), options, Box::new(|_| {})).await;
            let unsound = chat.check().await.map_err(|error| with_causes(&error));
            chat.close().await.map_err(|error| with_causes(&error))?;
            Ok(Upgraded {
                account: Some(account(&imported.map_err(|error| with_causes(&error))?)),
                backup: None,
                unsound: unsound.unwrap_or_else(|error| vec![error]),
            })
        })
    }
}

const CAMPAIGN: Campaign = Campaign {
    test: "universe_files::every_universe_file_is_imported_whole_or_refused_and_never_written_to",
    form: "universe",
    full: 150,
    slice: 44,
};

fn trying() -> Result<Trying, Failure> {
    let importing = Importing { runtime: keep::runtime()? };
    Ok(Box::new(move |seed, number, folder| try_universe(&importing, seed, number, folder)))
}

#[test]
fn every_universe_file_is_imported_whole_or_refused_and_never_written_to() {
    let Some(heard) = CAMPAIGN.run(trying).unwrap() else { return };
    println!("{heard}");
    heard.must_be_clean();
}
