//! What opening a kgents V1 file, or a database with V1's tables, did, said.

use std::io::Write;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::old_report;
use crate::output::Output;
use crate::text::printable;
use crate::wiring::{Kept, Upgrade};

/// Says it on standard error: the command's own answer is another one.
pub(super) fn note(upgrade: &Upgrade, output: &mut Output) -> Result<(), Failure> {
    let text = if output.is_json() {
        let document: Map<String, Value> =
            [("upgrade".to_owned(), document(upgrade).into())].into_iter().collect();
        Value::Object(document).to_string()
    } else {
        text(upgrade)
    };
    output.flush()?;
    writeln!(std::io::stderr().lock(), "{}", text.trim_end()).map_err(|error| Failure::io("print", &error))
}

/// For people.
pub(super) fn text(upgrade: &Upgrade) -> String {
    let mut text = match &upgrade.backup {
        Kept::File(file) => {
            let file = printable(&file.display().to_string());
            format!("upgraded a kgents V1 file; it is kept as it was in {file}\n")
        }
        Kept::Schema(schema) => {
            format!("upgraded kgents' V1 tables; they are kept as they were in the schema {schema}\n")
        }
    };
    if let Some(forced) = &upgrade.forced {
        text.extend(["forced: ", &printable(forced), "\n"]);
    }
    text + &old_report::text(&upgrade.report)
}

/// For scripts.
pub(super) fn document(upgrade: &Upgrade) -> Map<String, Value> {
    let mut document = old_report::document(&upgrade.report);
    let backup = match &upgrade.backup {
        Kept::File(file) => file.display().to_string(),
        Kept::Schema(schema) => schema.clone(),
    };
    document.insert("backup".to_owned(), backup.into());
    document.insert("forced".to_owned(), upgrade.forced.clone().into());
    document
}
