//! No case may be written and then never run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The cases of a room, by how each begins.
fn cases(source: &str) -> impl Iterator<Item = &str> {
    let begins = source.split("\npub async fn ").skip(1);
    begins.filter_map(|text| text.split_once("(store: Arc<dyn Store>)")).map(|(name, _)| name)
}

#[test]
fn every_case_that_is_written_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let suite = fs::read_to_string(folder.join("suite.rs")).unwrap();
    let listed: Vec<(&str, &str)> = suite
        .split("conformance_room!($make_store, ")
        .skip(1)
        .filter_map(|text| text.split_once(':'))
        .flat_map(|(room, text)| {
            let names = text.split(')').next().unwrap_or_default().split_whitespace();
            names.map(move |name| (room, name))
        })
        .collect();
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for name in cases(&fs::read_to_string(&path).unwrap()) {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name:?} in {room}");
            written.insert((room.clone(), name.to_owned()));
        }
    }
    assert!(written.len() > 100, "only {} cases were found", written.len());
    let run: BTreeSet<_> =
        listed.iter().map(|(room, name)| ((*room).to_owned(), (*name).to_owned())).collect();
    assert_eq!(run.len(), listed.len(), "a case is listed twice");
    assert_eq!(run, written, "the list in suite.rs and the cases that are written");
}
