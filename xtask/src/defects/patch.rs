//! The patches of `defects/` and the lines at their heads, which say what each breaks and which tests notice.
//!
//! Not here: applying them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};
use crate::runner::Selection;

/// Where the patches lie, below the repository's root.
pub(crate) const FOLDER: &str = "defects";

/// One planted defect.
#[derive(Debug)]
pub(crate) struct Patch {
    /// Number and name: `03-lost-page`.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// What it breaks, as a sentence.
    pub(crate) what: String,
    /// The tests which must notice. One of them failing is enough.
    pub(crate) caught_by: Vec<Selection>,
}

/// Reads all patches, in the order of their numbers.
///
/// # Errors
/// The folder or a file cannot be read, or a head is misshapen.
pub(crate) fn read_all(root: &Path) -> Outcome<Vec<Patch>> {
    let folder = root.join(FOLDER);
    let mut patches = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Failure::with_path("list the planted defects in", &folder))? {
        let path = entry.map_err(Failure::with_path("list", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let text = fs::read_to_string(&path).map_err(Failure::with_path("read", &path))?;
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            patches.push(Patch::parse(&name, &path, &text)?);
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

impl Patch {
    /// Understands the head of a patch: the lines before its first file.
    ///
    /// # Errors
    /// The name has no number, or `what` or `caught-by` is missing or misshapen.
    pub(crate) fn parse(name: &str, path: &Path, text: &str) -> Outcome<Self> {
        let wrong = |what: &str| Failure::new(format!("{}: {what}; see {FOLDER}/README.md", path.display()));
        let numbered = name.split_once('-').is_some_and(|(number, rest)| {
            number.len() == 2 && number.chars().all(|c| c.is_ascii_digit()) && !rest.is_empty()
        });
        if !numbered {
            return Err(wrong("the file is to be named NN-name.patch"));
        }

        let mut what = None;
        let mut caught_by = Vec::new();
        for line in text.lines().take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- ")) {
            if let Some(sentence) = line.strip_prefix("# what:").map(str::trim) {
                if what.replace(sentence).is_some() {
                    return Err(wrong("a second `# what:` line"));
                }
            } else if let Some(tests) = line.strip_prefix("# caught-by:") {
                caught_by.push(parse_selection(tests).map_err(|why| wrong(&why))?);
            } else if !line.starts_with('#') && !line.is_empty() {
                return Err(wrong(&format!("{line:?} stands before the diff but is no comment")));
            }
        }
        match what {
            Some(what) if !what.is_empty() && !caught_by.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.to_owned(), what: what.to_owned(), caught_by })
            }
            Some(what) if !what.is_empty() => {
                Err(wrong("no `# caught-by: -p PACKAGE [PART-OF-A-TEST'S-NAME…]` line"))
            }
            _ => Err(wrong("no `# what: SENTENCE` line")),
        }
    }

    /// Whether a person means this one: its name, or its number alone.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.name.split_once('-').is_some_and(|(number, _)| number == name)
    }
}

/// `-p PACKAGE` and parts of names, in any order.
fn parse_selection(line: &str) -> Result<Selection, String> {
    let mut selection = Selection { packages: Vec::new(), names: Vec::new() };
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        if word == "-p" {
            let package = words.next().ok_or("`-p` without a package")?;
            selection.packages.extend(["-p".to_owned(), package.to_owned()]);
        } else if word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            selection.names.push(word.to_owned());
        } else {
            return Err(format!("{word:?} in `# caught-by:` is no part of a test's name"));
        }
    }
    if selection.packages.is_empty() {
        return Err("`# caught-by:` names no package with -p".to_owned());
    }
    Ok(selection)
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.packages.iter().chain(&self.names).map(String::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<Patch, String> {
        Patch::parse(name, Path::new("defects/x.patch"), text).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_head_names_the_defect_and_the_tests_of_several_packages() {
        let text = "# what: a rewind keeps its evidence\n# caught-by: -p membrane-core laws::rewind evidence\n\
                    # caught-by: conformance -p membrane-store\n\ndiff --git a/x b/x\n# caught-by: not this\n";
        let patch = parse("03-kept-evidence", text).expect("it is well-formed");
        assert_eq!(patch.what, "a rewind keeps its evidence");
        let tests: Vec<String> = patch.caught_by.iter().map(ToString::to_string).collect();
        assert_eq!(tests, ["-p membrane-core laws::rewind evidence", "-p membrane-store conformance"]);
        assert!(patch.is_called("03") && patch.is_called("03-kept-evidence") && !patch.is_called("3"));
    }

    #[test]
    fn a_misshapen_head_is_refused_with_its_file_and_the_reason() {
        let good = "# what: x\n# caught-by: -p core\n";
        for (name, text, reason) in [
            ("kept-evidence", good, "NN-name.patch"),
            ("03-", good, "NN-name.patch"),
            ("03-x", "diff --git a/x b/x\n", "# what:"),
            ("03-x", "# what:\n# caught-by: -p core\n", "# what:"),
            ("03-x", "# what: x\n", "# caught-by:"),
            ("03-x", "# what: x\n# caught-by: laws\n", "names no package"),
            ("03-x", "# what: x\n# caught-by: laws -p\n", "without a package"),
            ("03-x", "# what: x\n# caught-by: test(laws) -p core\n", "\"test(laws)\""),
            ("03-x", "# what: x\n# what: y\n# caught-by: -p core\n", "second"),
            ("03-x", "what: x\n# caught-by: -p core\n", "no comment"),
        ] {
            let answer = parse(name, text).expect_err(text);
            assert!(answer.contains(reason) && answer.contains("defects/x.patch"), "{text}: {answer}");
        }
    }
}
