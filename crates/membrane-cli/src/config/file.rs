//! `infrastructure.yaml`: where it is, what it holds. It is kgents' file too: of what is outside of `chat` only
//! the keys that are asked for are looked at.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::names;
use super::origin::Origin;
use super::reader::cannot_be;
use super::yaml::{Pair, Yaml};
use crate::failure::Failure;

/// The section that is ours alone.
const OURS: &str = "chat";

/// The file as read.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    root: Yaml,
}

/// Where the file is looked for; nothing without a home folder.
pub(super) fn location(environment: &Environment) -> Option<PathBuf> {
    Some(environment.xdg_folder("XDG_CONFIG_HOME")?.join("kgents").join("infrastructure.yaml"))
}

impl File {
    /// Reads the file. One that is not there is fine, one that cannot be read is not.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), &error)),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error.utf8_error().valid_up_to();
            let problem = format!("it is not text from byte {before} on; write it in UTF-8");
            Failure::usage(problem).at(&path.display().to_string())
        })?;
        Self::parse(path, &text).map(Some)
    }

    /// Reads a text as if the file held it.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let place = |line| Origin::File { path: path.to_owned(), line }.place();
        match Yaml::parse(text) {
            Ok(root @ (Yaml::Map(_) | Yaml::Null)) => Ok(Self { path: path.to_owned(), root }),
            Ok(other) => {
                let kind = if other == Yaml::List { "a list" } else { "one value" };
                let problem = format!("it holds {kind}; give a map of keys");
                Err(Failure::usage(problem).at(&place(None)))
            }
            Err((line, failure)) => Err(failure.at(&place(line))),
        }
    }

    /// The value of a dotted key that is there and not null.
    pub(super) fn find(&self, key: &str) -> Result<Option<(&Yaml, Origin)>, Failure> {
        let found = self.find_pair(key)?.filter(|pair| pair.value != Yaml::Null);
        Ok(found.map(|pair| (&pair.value, self.origin(pair.line))))
    }

    /// Fails on the first key of our section that is not among the known ones.
    pub(super) fn refuse_unknown(&self, known: &[String]) -> Result<(), Failure> {
        let Some(ours) = self.find_pair(OURS)? else { return Ok(()) };
        let mut sections: Vec<String> =
            known.iter().filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned())).collect();
        sections.dedup();
        for section in self.pairs_of(ours, OURS)? {
            let name = format!("{OURS}.{}", section.key);
            if !sections.contains(&name) {
                // A key may stand where its section should.
                return Err(self.unknown(&name, &[&sections, known].concat(), section));
            }
            for pair in self.pairs_of(section, &name)? {
                let key = format!("{name}.{}", pair.key);
                if !known.contains(&key) {
                    return Err(self.unknown(&key, known, pair));
                }
            }
        }
        Ok(())
    }

    fn find_pair(&self, key: &str) -> Result<Option<&Pair>, Failure> {
        let mut pairs: &[Pair] = if let Yaml::Map(pairs) = &self.root { pairs } else { &[] };
        let mut found: Option<&Pair> = None;
        let mut walked = String::new();
        for part in key.split('.') {
            if let Some(pair) = found {
                pairs = self.pairs_of(pair, &walked)?;
                walked.push('.');
            }
            let Some(pair) = pairs.iter().find(|pair| pair.key == part) else { return Ok(None) };
            walked.push_str(part);
            found = Some(pair);
        }
        Ok(found)
    }

    /// What stands below the key `name`: nothing, if its value is null.
    fn pairs_of<'a>(&self, pair: &'a Pair, name: &str) -> Result<&'a [Pair], Failure> {
        match &pair.value {
            Yaml::Map(pairs) => Ok(pairs),
            Yaml::Null => Ok(&[]),
            other => Err(cannot_be(name, other, "a map of keys").at(&self.origin(pair.line).place())),
        }
    }

    fn unknown(&self, name: &str, known: &[String], pair: &Pair) -> Failure {
        names::unknown("key", name, known).at(&self.origin(pair.line).place())
    }

    fn origin(&self, line: Option<u64>) -> Origin {
        Origin::File { path: self.path.clone(), line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/c/i.yaml";

    fn parsed(text: &str) -> Result<File, String> {
        File::parse(Path::new(PATH), text).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_file_is_below_the_folder_for_configuration() {
        let place = |variables: &[(&str, &str)]| location(&Environment::of(variables));
        let expected = |path: &str| Some(PathBuf::from(path));
        assert_eq!(place(&[("HOME", "/me")]), expected("/me/.config/kgents/infrastructure.yaml"));
        let both = [("HOME", "/me"), ("XDG_CONFIG_HOME", "/x")];
        assert_eq!(place(&both), expected("/x/kgents/infrastructure.yaml"));
        let relative = [("HOME", "/me"), ("XDG_CONFIG_HOME", "x")];
        assert_eq!(place(&relative), expected("/me/.config/kgents/infrastructure.yaml"));
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_fine_and_one_that_cannot_be_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("infrastructure.yaml");
        assert!(File::read(&path).unwrap().is_none());
        let error = File::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains(folder.path().to_str().unwrap()), "{error}");
        std::fs::write(&path, b"a: \xff").unwrap();
        let error = File::read(&path).unwrap_err().to_string();
        assert!(error.contains("infrastructure.yaml: ") && error.contains("UTF-8"), "{error}");
        std::fs::write(&path, "profile: p").unwrap();
        let file = File::read(&path).unwrap().unwrap();
        assert_eq!(file.find("profile").unwrap().unwrap().0, &Yaml::Text("p".into()));
    }

    #[test]
    fn what_is_malformed_is_refused_with_file_line_and_problem_but_no_value() {
        for (text, place, problem) in [
            ("a: 1\npassword: 'secret\nb: 1\n", "/c/i.yaml:2: ", "unclosed"),
            ("a: [secret\n", "/c/i.yaml:1: ", "unclosed"),
            ("a: 1\na: secret\n", "/c/i.yaml:2: ", "duplicate"),
            ("a: 1\n---\nb: secret\n", "/c/i.yaml:3: ", "multiple"),
            ("- secret\n", "/c/i.yaml: ", "a map of keys"),
            ("just text\n", "/c/i.yaml: ", "a map of keys"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(problem), "{text:?}: {error}");
            assert!(
                !error.contains("secret") && !error.contains("Options") && !error.contains('\n'),
                "{error}"
            );
        }
    }

    #[test]
    fn a_dotted_key_is_found_with_its_line_and_null_is_nothing() {
        let file = parsed("a:\n  b:\n    c: 1\n    d:\nx: {y: 2}\n").unwrap();
        let find = |key| file.find(key).unwrap().map(|(value, origin)| (value.clone(), origin.place()));
        assert_eq!(find("a.b.c"), Some((Yaml::Integer(1), "/c/i.yaml:3".into())));
        assert_eq!(find("x.y"), Some((Yaml::Integer(2), "/c/i.yaml:5".into())));
        for key in ["a.b.d", "a.b.d.e", "a.x", "z", "a.b.c.d.e"] {
            let found = file.find(key);
            assert!(matches!(found, Ok(None)) || key.starts_with("a.b.c"), "{key}: {found:?}");
        }
        let error = file.find("a.b.c.d").unwrap_err().to_string();
        assert_eq!(error, "/c/i.yaml:3: a.b.c cannot be 1; give a map of keys");
        assert!(parsed("").unwrap().find("a").unwrap().is_none(), "an empty file says nothing");
    }

    #[test]
    fn an_anchor_and_a_merge_stand_for_what_they_name() {
        let file = parsed("a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  c: 3\n").unwrap();
        assert_eq!(file.find("d.b").unwrap().unwrap().0, &Yaml::Integer(1));
        assert_eq!(file.find("d.c").unwrap().unwrap().0, &Yaml::Integer(3));
    }
}
