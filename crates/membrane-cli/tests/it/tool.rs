//! Runs the binary with a database of its own, in an environment of its own.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder with a database that the binary may use.
pub(crate) struct Tool {
    folder: tempfile::TempDir,
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Tool {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path("keep.db")
    }

    /// The binary in an empty environment, with no arguments yet.
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_membrane"));
        command.env_clear().current_dir(self.folder.path());
        command
    }

    /// The binary with these arguments on the database.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare();
        command.arg("--database-url").arg(self.database()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).stdin(Stdio::null()).output().unwrap().into()
    }

    /// Runs with this standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.spawn(args);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that refuses a line stops reading: what it does not want is not to hang the test.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let ran = Ran::from(child.wait_with_output().unwrap());
        let written = writer.join().unwrap();
        assert!(written.is_ok() || ran.code != Some(0), "{ran:?} did not read all of its input");
        ran
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs what must succeed, and gives what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran.stdout
    }

    /// Runs what must succeed and print an id alone.
    #[track_caller]
    pub(crate) fn id(&self, args: &[&str]) -> String {
        let printed = self.ok(args);
        let id = printed.strip_suffix('\n').expect("a line");
        assert!(!id.is_empty() && !id.contains(char::is_whitespace), "{printed:?} is no id alone");
        id.to_owned()
    }

    /// Runs what must succeed and print one JSON document, and nothing else anywhere.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// Runs what must fail with this code and say something that holds all these words.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, args: &[&str], words: &[&str]) {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        ran.complains_of(words);
    }

    /// A new session with plain turns `u0`/`a0` and so on.
    pub(crate) fn session_of(&self, turns: usize) -> String {
        let line = |n| format!("{{\"user\":\"u{n}\",\"assistant\":\"a{n}\"}}");
        let lines = (0..turns).map(line).collect::<Vec<_>>().join("\n");
        let ran = self.feed(&["append", "--new", "--stdin"], lines.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    /// What the user said in a session, turn by turn.
    pub(crate) fn words(&self, id: &str) -> Vec<String> {
        let session = self.json(&["show", id]);
        let turns = session["turns"].as_array().unwrap();
        turns.iter().map(|turn| turn["user_message"]["content"].as_str().unwrap().to_owned()).collect()
    }
}

impl Ran {
    /// Whether it says on standard error, in one line and in small letters, something with all these words.
    #[track_caller]
    pub(crate) fn complains_of(&self, words: &[&str]) {
        assert!(self.stderr.starts_with("membrane: "), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
