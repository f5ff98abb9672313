//! Names of keys: the variable of each, the nearest to one that is not known, and which are secrets.

use crate::failure::Failure;

/// What all our variables begin with. kgents has others with `KGENTS_`, so those are left alone.
pub(super) const PREFIX: &str = "KGENTS_CHAT_";

/// `chat.server.drain_ms` is `KGENTS_CHAT_SERVER_DRAIN_MS` in the environment.
pub(crate) fn variable(key: &str) -> String {
    format!("KGENTS_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Whether a value with this key is never shown.
pub(super) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    last.split('_').any(|word| ["key", "secret", "token", "password"].contains(&word))
}

/// A name that is not known, and what was meant by it, probably.
pub(super) fn unknown(what: &str, name: &str, known: &[String]) -> Failure {
    let meant = nearest(name, known).map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    Failure::usage(format!("{name} is not a known {what}{meant} \"membrane config --keys\" lists all"))
}

/// Fewest edits win; but a key that only stands in a wrong section is nearer than any that is spelled otherwise.
pub(super) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let is_misplaced = |known: &str| name.contains('.') && last(known) == last(name);
    let distance = |known: &&String| match strsim::osa_distance(name, known) {
        _ if is_misplaced(known) => 0,
        distance => distance + 1,
    };
    known.iter().min_by_key(distance).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_has_the_fewest_edits_or_the_same_name_in_another_section() {
        let known: Vec<String> =
            ["chat.server.addr", "chat.server.drain_ms", "chat.runs.lease_ms", "chat.runs.renew_ms"]
                .map(str::to_owned)
                .into();
        for (name, expected) in [
            ("chat.server.adr", "chat.server.addr"),
            ("chat.server.Addr", "chat.server.addr"),
            ("chat.server.lease_ms", "chat.runs.lease_ms"),
            ("chat.runs.lease", "chat.runs.lease_ms"),
            ("chat.runs.rewen_ms", "chat.runs.renew_ms"),
        ] {
            assert_eq!(nearest(name, &known), Some(expected), "{name}");
        }
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn a_variable_is_the_key_in_capitals() {
        assert_eq!(variable("chat.server.drain_ms"), "KGENTS_CHAT_SERVER_DRAIN_MS");
        assert!(variable("chat.x.y").starts_with(PREFIX));
    }

    #[test]
    fn a_key_whose_name_says_so_is_a_secret() {
        for key in ["chat.model.api_key", "chat.x.client_secret", "chat.x.token", "chat.x.Password"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("chat.keys.addr"), "the section alone does not make it one");
    }
}
