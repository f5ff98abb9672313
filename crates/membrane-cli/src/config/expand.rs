//! `${NAME}`, `${env:NAME}` and `${NAME:-default}` in the file's values. A variable that is not set and has no default
//! is an error: a path that lost its first half would name another place. Not here: `$NAME`, which stays as it is.

use std::path::PathBuf;

use super::environment::Environment;
use super::urls::encode_reserved;
use crate::failure::Failure;

/// The text with the environment's values in it. They are not expanded again.
///
/// A password is rarely written for a URL. In one, a value that stands among user and password, or for a parameter,
/// is therefore encoded as far as it would end there, or be no encoding.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Failure> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let Some((inside, after)) = from.split_once('}') else {
            return Err(Failure::usage("a ${ has no }; close it"));
        };
        expanded.push_str(before);
        let at = text.len() - from.len();
        let value = variable(inside.strip_prefix("env:").unwrap_or(inside), environment)?;
        expanded.push_str(&if stands_for_itself(text, at) { encode_reserved(&value) } else { value });
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Whether what goes there is, in a URL, among user and password, or the value of a parameter.
fn stands_for_itself(text: &str, at: usize) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    let is_scheme = scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    // The path of a file is not encoded.
    if !is_scheme || scheme.to_ascii_lowercase().starts_with("sqlite") {
        return false;
    }
    let (before, after) = text.split_at(at);
    let before = outside_of_braces(before.strip_suffix("${").unwrap_or(before));
    let after = outside_of_braces(after.split_once('}').map_or("", |(_, after)| after));
    let before = before.split_once("://").map_or("", |(_, before)| before);
    if let Some((_, query)) = before.split_once('?') {
        return query.rsplit('&').next().is_some_and(|pair| pair.contains('='));
    }
    let authority = after.split(['/', '?']).next().unwrap_or_default();
    !before.contains('/') && authority.contains('@')
}

/// What is the URL's own.
fn outside_of_braces(text: &str) -> String {
    let mut outside = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        outside.push_str(before);
        rest = from.split_once('}').map_or("", |(_, after)| after);
    }
    outside + rest
}

fn variable(inside: &str, environment: &Environment) -> Result<String, Failure> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if !is_name {
        let forms = "write ${NAME}, ${env:NAME} or ${NAME:-DEFAULT}";
        return Err(Failure::usage(format!("${{{name}}} does not name a variable; {forms}")));
    }
    let unset = || Failure::usage(format!("{name} is not set; set it, or write the value itself"));
    if Environment::is_xdg_folder(name) {
        let folder = environment.xdg_folder(name).or(default.map(PathBuf::from)).ok_or_else(unset)?;
        let not_text = |_| Failure::usage("it is not text; set it to UTF-8").at(name);
        return folder.into_os_string().into_string().map_err(not_text);
    }
    environment.find(name)?.or(default).map(str::to_owned).ok_or_else(unset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let environment = Environment::of(&[
            ("A", "one"),
            ("B_2", "${A}"),
            ("EMPTY", ""),
            ("HOME", "/me"),
            ("XDG_CONFIG_HOME", "rel"),
        ]);
        expand(text, &environment).map_err(|failure| failure.to_string())
    }

    #[test]
    fn both_forms_are_expanded_once_and_the_rest_stays() {
        for (text, value) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("x${env:A}y${A}z", "xoneyonez"),
            ("${B_2}", "${A}"),
            ("$A $ {A} $$ }", "$A $ {A} $$ }"),
            ("${HOME}/ü", "/me/ü"),
            ("${A:-two}${NOPE:-two}${EMPTY:-}${env:NOPE:-a b}", "onetwoa b"),
            ("${NOPE:-a:-b}", "a:-b"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn xdg_folders_have_their_usual_defaults() {
        assert_eq!(expanded("${XDG_DATA_HOME}/k").as_deref(), Ok("/me/.local/share/k"));
        assert_eq!(
            expanded("${env:XDG_CONFIG_HOME}").as_deref(),
            Ok("/me/.config"),
            "a relative one is unset"
        );
        let error = expand("${XDG_DATA_HOME}", &Environment::default()).unwrap_err().to_string();
        assert!(error.contains("XDG_DATA_HOME is not set"), "{error}");
    }

    #[test]
    fn what_is_not_set_or_cannot_be_a_name_is_refused_by_name() {
        for (text, word) in [
            ("a${NOPE}", "NOPE is not set"),
            ("${EMPTY}", "EMPTY is not set"),
            ("${A-x}", "${A-x} does not name"),
            ("${:-x}", "${} does not name"),
            ("${}", "${NAME}"),
            ("${A", "has no }"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_in_a_url_stands_for_itself_and_ends_nothing() {
        let environment = Environment::of(&[
            ("PW", "p@s/s:w?r#d&=5%"),
            ("ENCODED", "p%40ss"),
            ("USER", "me@tenant"),
            ("HOST", "h1:1,h2:2"),
            ("URL", "postgresql://me:p%40ss@h/d?sslmode=require"),
            ("OPTIONS", "sslmode=require&user=a"),
        ]);
        let encoded = "p%40s%2Fs%3Aw%3Fr%23d%26%3D5%25";
        for (text, value) in [
            ("postgresql://me:${PW}@h/d", format!("postgresql://me:{encoded}@h/d")),
            ("redis://:${env:PW}@h", format!("redis://:{encoded}@h")),
            ("postgres://${USER}:${NOPE:-a/b}@${HOST}/d", "postgres://me%40tenant:a%2Fb@h1:1,h2:2/d".into()),
            ("postgres://me:${ENCODED}@h", "postgres://me:p%40ss@h".into()),
            ("postgres://h/d?password=${PW}&user=b", format!("postgres://h/d?password={encoded}&user=b")),
            ("postgres://h/d?${OPTIONS}", "postgres://h/d?sslmode=require&user=a".into()),
            ("postgres://${HOST}/${USER}", "postgres://h1:1,h2:2/me@tenant".into()),
            ("${URL}", "postgresql://me:p%40ss@h/d?sslmode=require".into()),
            ("sqlite:///${PW}/a@b", "sqlite:///p@s/s:w?r#d&=5%/a@b".into()),
            ("sqlite://${PW}@b", "sqlite://p@s/s:w?r#d&=5%@b".into()),
            ("/a/${PW}@b", "/a/p@s/s:w?r#d&=5%@b".into()),
        ] {
            assert_eq!(expand(text, &environment).unwrap(), value, "{text}");
        }
    }
}
