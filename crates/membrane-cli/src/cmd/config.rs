//! `config`: what is in force, and which keys there are. Secrets were masked before they came here.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::config::{self, Known, Report};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) fn show(report: &Report, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        let entries: Map<String, Json> = report
            .entries
            .iter()
            .map(|entry| {
                (entry.key.to_owned(), json!({"value": entry.value, "origin": entry.origin.to_string()}))
            })
            .collect();
        return output.document(&entries);
    }
    let rows: Vec<[String; 3]> = report
        .entries
        .iter()
        .map(|entry| [entry.key.to_owned(), in_words(&entry.value), entry.origin.to_string()])
        .collect();
    output.raw(&text::columns(&rows))?;
    output.note(&match &report.file {
        Some((path, true)) => format!("the file is {}", path_in_words(path)),
        Some((path, false)) => format!("there is no file at {}", path_in_words(path)),
        None => "no file is looked for: neither XDG_CONFIG_HOME nor HOME is set".to_owned(),
    })
}

pub(super) fn keys(output: &mut Output) -> Result<(), Failure> {
    let known = config::known_keys()?;
    if output.is_json() {
        let keys: Map<String, Json> =
            known.iter().map(|known| (known.key.to_owned(), described(known))).collect();
        return output.document(&keys);
    }
    for known in &known {
        output.line(&format!("{}  {}", known.key, config::variable(known.key)))?;
        output.line(&format!("    {}: {}", known.about, known.allowed))?;
        output.line(&format!("    {} by default", in_words(&known.default)))?;
    }
    Ok(())
}

fn described(known: &Known) -> Json {
    json!({
        "variable": config::variable(known.key),
        "about": known.about,
        "allowed": known.allowed,
        "default": known.default,
    })
}

/// A text without its quotes; nothing at all is a dash.
fn in_words(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn path_in_words(path: &Path) -> String {
    text::printable(&path.to_string_lossy())
}
