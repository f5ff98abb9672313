//! Files tried one after the other by child processes, so that one at which the program dies is told from the others.
//!
//! Not here: what is tried.

use std::fmt;
use std::panic;
use std::path::Path;
use std::thread;
use std::time::Duration;

use membrane_crashtest::campaign::Failure;
use membrane_crashtest::child::{self, ChildProcess};
use membrane_crashtest::old_files::campaign::{Tally, Trial};
use membrane_crashtest::settings::Settings;

/// How long a child may say nothing: the greatest file on a busy machine takes a minute or two.
const SILENCE: Duration = Duration::from_secs(600);

/// Tries a file: the seed, its number, an empty folder.
pub(crate) type Trying = Box<dyn Fn(u64, u64, &Path) -> Result<Trial, Failure>>;

/// As many as there are processors in the machines that these tests are made for.
const N_CHILDREN: u64 = 2;

/// A line to the parent must fit into a pipe's page.
const MAX_LINE_BYTES: usize = 3_000;

/// A campaign over files.
pub(crate) struct Campaign {
    /// The test that runs it, as the test runner shows it.
    pub(crate) test: &'static str,
    /// What kind of files, for the report.
    pub(crate) form: &'static str,
    /// How many files.
    pub(crate) full: u64,
    /// How many of them in an ordinary run.
    pub(crate) slice: u64,
}

/// What the parent hears of all files. Its `Display` is what a test prints.
#[derive(Default)]
pub(crate) struct Heard {
    form: &'static str,
    seed: u64,
    n_files: u64,
    tally: Tally,
    problems: Vec<String>,
    refusals: Vec<String>,
}

impl Heard {
    /// Fails with everything that is wrong.
    pub(crate) fn must_be_clean(&self) {
        assert!(self.problems.is_empty(), "{:#?}", self.problems);
        assert_eq!(self.tally.n_files, self.n_files);
        assert!(self.tally.n_upgraded >= self.n_files * 2 / 5, "half of the files are sound: {}", self.tally);
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refusal in &self.refusals {
            writeln!(f, "refused: {refusal}")?;
        }
        write!(f, "campaign: old_files form={} {} seed={}", self.form, self.tally, self.seed)
    }
}

impl Campaign {
    /// Runs it. `None`: this was a child, whose share is done.
    pub(crate) fn run(&self, trying: impl Fn() -> Result<Trying, Failure>) -> Result<Option<Heard>, Failure> {
        if let Some(role) = child::role() {
            play(&role, &trying()?)?;
            return Ok(None);
        }
        let settings = Settings::from_environment()?;
        let n_files = if settings.is_full { self.full } else { self.slice };
        let shares = thread::scope(|scope| {
            let share = |share| scope.spawn(move || self.try_share(settings.seed, share, n_files));
            let shares: Vec<_> = (0..N_CHILDREN).map(share).collect();
            shares.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut heard = Heard { form: self.form, seed: settings.seed, n_files, ..Heard::default() };
        for share in shares {
            let share = share.map_err(|_| "a share of the campaign panicked; its message stands above")??;
            heard.tally.add(&share.tally);
            heard.problems.extend(share.problems);
            heard.refusals.extend(share.refusals);
        }
        Ok(Some(heard))
    }

    /// Has a child try its share of the files; one that dies is followed by another, behind the file at which it died.
    fn try_share(&self, seed: u64, share: u64, end: u64) -> Result<Heard, Failure> {
        let mut heard = Heard::default();
        let mut next = share;
        while next < end {
            let mut child = ChildProcess::start(self.test, &format!("{seed} {next} {end}"))?;
            let mut is_under_way = false;
            while let Some(line) = child.hear(SILENCE)? {
                let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
                match what {
                    "begin" => (next, is_under_way) = (rest.parse()?, true),
                    "problem" => heard.problems.push(rest.to_owned()),
                    "refusal" => heard.refusals.push(rest.to_owned()),
                    "panic" => {
                        heard.tally.n_panics += 1;
                        heard.problems.push(format!("file {next}: a panic: {rest}"));
                    }
                    "done" => {
                        heard.tally.add(&Tally::parse(rest)?);
                        (next, is_under_way) = (next + N_CHILDREN, false);
                    }
                    _ => return Err(format!("a child said {line:?}").into()),
                }
            }
            match child.finish(SILENCE) {
                Ok(_) => break,
                Err(error) if is_under_way => {
                    heard.tally.n_files += 1;
                    heard.tally.n_panics += 1;
                    heard.problems.push(format!("file {next}: {error}"));
                    next += N_CHILDREN;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(heard)
    }
}

/// The child's side: tries its share of the files, and says of each what became of it.
fn play(role: &str, trying: &Trying) -> Result<(), Failure> {
    let numbers = role.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let &[seed, first, end] = numbers.as_slice() else { return Err("a role is three numbers".into()) };
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        // Nothing can be done about a parent that does not hear it.
        let _ = say("panic", &info.to_string());
    }));
    for number in (first..end).step_by(usize::try_from(N_CHILDREN)?) {
        say("begin", &number.to_string())?;
        let folder = tempfile::tempdir()?;
        let trial = trying(seed, number, folder.path()).unwrap_or_else(|error| Trial {
            tally: Tally { n_files: 1, n_lost: 1, ..Tally::default() },
            problems: vec![format!("it could not be judged: {error}")],
            ..Trial::default()
        });
        for problem in trial.problems.iter().take(6) {
            say("problem", &format!("file {number} ({}): {problem}", trial.what))?;
        }
        if let Some(refusal) = &trial.refusal {
            say("refusal", &format!("file {number}: {refusal}"))?;
        }
        say("done", &trial.tally.to_line())?;
    }
    Ok(())
}

fn say(what: &str, text: &str) -> Result<(), Failure> {
    let one_line = text.replace(['\n', '\r'], " ");
    let end = (0..=MAX_LINE_BYTES.min(one_line.len())).rev().find(|end| one_line.is_char_boundary(*end));
    Ok(child::say(&format!("{what} {}", one_line.get(..end.unwrap_or(0)).unwrap_or_default()))?)
}
