//! V1 files of every kind are upgraded whole, or refused and left as they were.
//!
//! Not here: making and judging files (`membrane_crashtest::old_files`).

use membrane_crashtest::campaign::Failure;
use membrane_crashtest::old_files::campaign::try_v1;

use crate::trials::{Campaign, Trying};
use crate::upgrader::Opening;

const CAMPAIGN: Campaign = Campaign {
    test: "old_files::every_old_file_is_upgraded_whole_or_refused_and_left_as_it_was",
    form: "v1",
    full: 700,
    slice: 156,
};

fn trying() -> Result<Trying, Failure> {
    let opening = Opening::new()?;
    Ok(Box::new(move |seed, number, folder| try_v1(&opening, seed, number, folder)))
}

#[test]
fn every_old_file_is_upgraded_whole_or_refused_and_left_as_it_was() {
    let Some(heard) = CAMPAIGN.run(trying).unwrap() else { return };
    println!("{heard}");
    heard.must_be_clean();
}
