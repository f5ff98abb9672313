//! The command line: what can be asked for, and the text that teaches it.
//!
//! Not here: doing it.

use crate::failure::{Failure, Outcome};

/// What `cargo xtask` prints when nothing is asked of it.
pub(crate) const USAGE: &str = "\
The repository's one test command, and its planted defects.

cargo xtask test [--full] [--seed N]
    Runs everything that must hold before a change is merged, in the order that fails fastest: formatting,
    clippy, documentation, the repository's own rules (tidy), all tests, doctests, and a check that none of
    it changed a file. The last line of a good run is `N passed, 0 failed`.

    --full      also runs the long campaigns to their end, unused dependencies and licences (cargo-machete
                and cargo-deny are installed into target/tools if they are missing), and the planted defects.
                This takes long.
    --seed N    repeats the random choices of an earlier run. Each run prints its seed, and again when it fails.

cargo xtask defects [--seed N] [NAME…]
    Plants each patch of defects/ (or the named ones: `03`, `03-lost-page`) in a copy of the tree, and shows
    that the tests which it names catch it. defects/README.md says how to write one.

On the way, these are quicker:
    cargo test -p xtask                 the repository's own rules
    cargo nextest run -p membrane-core  the tests of one crate
    MEMBRANE_TEST_SEED=7 cargo nextest run -p membrane-core laws
                                        the tests with `laws` in their names, with the choices of seed 7
    MEMBRANE_TEST_FULL=1                the same variable makes their campaigns run to the end

    MEMBRANE_TEST_POSTGRES_URL=postgres://…
                                        tests make their databases on that server instead of one of their own
    MEMBRANE_TEST_POSTGRES_BIN=/…/bin   where initdb and postgres are, if not in a usual place

Needed: cargo with rustfmt and clippy, a C compiler, git; PostgreSQL, PgBouncer and Redis or Valkey, which root's
run on Debian installs by itself; for the test of a full disk root's rights or user namespaces (Linux). What is
missing is named at the start. With cargo-nextest installed the tests run under it.
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nothing, or help.
    Usage,
    /// The test command.
    Test(TestOptions),
    /// The planted defects.
    Defects(DefectOptions),
}

/// How the test command is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestOptions {
    /// The long campaigns, the planted defects and the dependencies too.
    pub(crate) full: bool,
    /// The seed to repeat; a fresh one if absent.
    pub(crate) seed: Option<u64>,
}

/// Which defects are to be planted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DefectOptions {
    /// Numbers or names without `.patch`; all if empty.
    pub(crate) names: Vec<String>,
    /// The seed to repeat; a fresh one if absent.
    pub(crate) seed: Option<u64>,
}

/// Understands the arguments after `cargo xtask`.
///
/// # Errors
/// An unknown command or option, a value that is missing, or a seed that is not a number.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Outcome<Request> {
    let mut arguments = arguments;
    match arguments.next().as_deref() {
        None | Some("help" | "--help" | "-h") => Ok(Request::Usage),
        Some("test") => parse_test(arguments),
        Some("defects") => parse_defects(arguments),
        Some(other) => Err(unknown("command", other)),
    }
}

fn parse_test(mut arguments: impl Iterator<Item = String>) -> Outcome<Request> {
    let mut options = TestOptions { full: false, seed: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => options.full = true,
            "--seed" => options.seed = Some(parse_seed(arguments.next())?),
            "--help" | "-h" => return Ok(Request::Usage),
            other => return Err(unknown("option of `test`", other)),
        }
    }
    Ok(Request::Test(options))
}

fn parse_defects(mut arguments: impl Iterator<Item = String>) -> Outcome<Request> {
    let mut options = DefectOptions { names: Vec::new(), seed: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => options.seed = Some(parse_seed(arguments.next())?),
            "--help" | "-h" => return Ok(Request::Usage),
            option if option.starts_with('-') => return Err(unknown("option of `defects`", option)),
            _ => options.names.push(argument),
        }
    }
    Ok(Request::Defects(options))
}

fn parse_seed(value: Option<String>) -> Outcome<u64> {
    let Some(value) = value else {
        return Err(Failure::new("--seed needs a number, for example --seed 7"));
    };
    value.parse().map_err(|_| {
        Failure::new(format!("--seed {value:?} cannot be used; give a whole number from 0 to {}", u64::MAX))
    })
}

fn unknown(what: &str, given: &str) -> Failure {
    Failure::new(format!("unknown {what}: {given:?}; `cargo xtask` alone shows what there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(str::to_owned)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn nothing_and_help_are_answered_with_the_usage() {
        for line in ["", "help", "--help", "test --help", "defects -h"] {
            assert_eq!(parse_words(line), Ok(Request::Usage), "{line}");
        }
    }

    #[test]
    fn the_test_command_takes_full_and_a_seed_in_any_order() {
        let asked = Ok(Request::Test(TestOptions { full: true, seed: Some(7) }));
        assert_eq!(parse_words("test --full --seed 7"), asked);
        assert_eq!(parse_words("test --seed 7 --full"), asked);
        assert_eq!(parse_words("test"), Ok(Request::Test(TestOptions { full: false, seed: None })));
    }

    #[test]
    fn defects_are_named_after_the_command() {
        let asked = DefectOptions { names: vec!["03".to_owned(), "05-x".to_owned()], seed: Some(1) };
        assert_eq!(parse_words("defects 03 --seed 1 05-x"), Ok(Request::Defects(asked)));
    }

    #[test]
    fn a_mistyped_word_is_named_in_the_answer() {
        for (line, named) in [
            ("tset", "\"tset\""),
            ("test --ful", "\"--ful\""),
            ("test --seed seven", "\"seven\""),
            ("test --seed -1", "\"-1\""),
            ("test --seed", "--seed 7"),
            ("defects --all", "\"--all\""),
        ] {
            let answer = parse_words(line).expect_err(line);
            assert!(answer.contains(named), "{line}: {answer}");
        }
    }
}
