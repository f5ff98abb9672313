//! `${NAME}` and `${env:NAME}` in the file's values. A variable that is not set is an error: a path that lost its
//! first half would name another place. Not here: `$NAME` and defaults, which stay as they are or are refused.

use super::environment::Environment;
use crate::failure::Failure;

/// The text with the environment's values in it. They are not expanded again.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, Failure> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let Some((inside, after)) = from.split_once('}') else {
            return Err(Failure::usage("a ${ has no }; close it"));
        };
        expanded.push_str(before);
        expanded.push_str(&variable(inside.strip_prefix("env:").unwrap_or(inside), environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn variable(name: &str, environment: &Environment) -> Result<String, Failure> {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if !is_name {
        let forms = "write ${NAME} or ${env:NAME}";
        return Err(Failure::usage(format!("${{{name}}} does not name a variable; {forms}")));
    }
    let unset = || Failure::usage(format!("{name} is not set; set it, or write the value itself"));
    if Environment::is_xdg_folder(name) {
        let folder = environment.xdg_folder(name).ok_or_else(unset)?;
        let not_text = |_| Failure::usage("it is not text; set it to UTF-8").at(name);
        return folder.into_os_string().into_string().map_err(not_text);
    }
    environment.find(name)?.map(str::to_owned).ok_or_else(unset)
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
            ("${A:-x}", "${A:-x} does not name"),
            ("${}", "${NAME}"),
            ("${A", "has no }"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
