//! Runs the ```console blocks of a page as a reader would: all of them in one shell, one command after the
//! other, and compares what they print with what the page says.
//!
//! In a page, `…` stands for any text; ids and times are never compared. The server's address is another one
//! here. `curl` is a stand-in that knows as much of it as the pages use, because not everybody who runs the
//! tests has one, or one that is new enough.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the pages say that the server is.
const ADDRESS: &str = "127.0.0.1:8642";

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stands before each command's output.
const MARK: char = '\u{1e}';

/// A command, and what it prints.
#[derive(Debug)]
struct Step {
    command: String,
    expected: String,
}

/// Runs all commands of a page of the repository, and gives how many there were.
#[track_caller]
pub(crate) fn run_page(name: &str) -> usize {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let page = fs::read_to_string(page).unwrap();
    let address = free_address();
    let steps = steps_of(&page.replace(ADDRESS, &address));
    let printed = run(&steps, &address);
    assert_eq!(printed.len(), steps.len(), "the shell ended early: {printed:?}");
    // What a shell says of its jobs is its own.
    let compared = steps.iter().zip(&printed).filter(|(step, _)| !step.command.starts_with("kill "));
    for (step, printed) in compared {
        assert!(
            is_as_expected(&step.expected, printed),
            "{name} says that\n$ {}\nprints\n{}\nbut it prints\n{printed}",
            step.command,
            step.expected
        );
    }
    steps.len()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn steps_of(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if !is_console {
            // Prose.
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), expected: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push_str(line);
            step.expected.push('\n');
        }
    }
    steps
}

/// What each of the commands printed, on standard error too.
fn run(steps: &[Step], address: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::create_dir(home.join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_membrane"), home.join("bin/membrane")).unwrap();
    fs::write(home.join("page.sh"), script(steps, address)).unwrap();
    let asked = home.join("asked");
    make_pipe(&asked);
    // Open for both, it has no end.
    let asked = OpenOptions::new().read(true).write(true).open(asked).unwrap();
    // It waits for the next question when the shell has ended, and goes with the process.
    thread::spawn(move || stand_in_for_curl(BufReader::new(asked)));
    let shell = Command::new("sh")
        .args(["-c", "exec env -i HOME=\"$PWD\" PATH=\"$PWD/bin:$PATH\" sh page.sh"])
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split(MARK).skip(1).map(|part| part.trim_end().to_owned()).collect()
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The commands, each with a mark before it, and each that starts a server with a wait after it.
fn script(steps: &[Step], address: &str) -> String {
    // A question says where the answer goes, how many arguments there are, and the arguments.
    let mut script = format!(
        "export KGENTS_CHAT_SERVER_ADDR={address}\n\
         curl() {{\n\
           answer=$(mktemp -u \"$HOME/answer-XXXXXX\") && mkfifo \"$answer\"\n\
           printf '%s\\n' \"$answer\" $# \"$@\" > \"$HOME/asked\"\n\
           cat \"$answer\"\n\
         }}\n\
         server=\n"
    );
    for Step { command, .. } in steps {
        script += &["printf '", &MARK.to_string(), "'\n{ ", command, "\n} 2>&1\n"].concat();
        if command.starts_with("membrane serve") {
            script += &["server=$!\ncurl -s http://", address, "/health > /dev/null\n"].concat();
        }
    }
    // The last server must not outlive the page.
    script + "[ -z \"$server\" ] || kill -9 $server 2> /dev/null\n"
}

/// Answers the shell's `curl`s, each on its own: several may be under way.
fn stand_in_for_curl(asked: impl BufRead) {
    let mut lines = asked.lines().map_while(Result::ok);
    while let Some(answer) = lines.next() {
        let n_args = lines.next().and_then(|count| count.parse().ok()).unwrap_or(0);
        let args: Vec<String> = lines.by_ref().take(n_args).collect();
        thread::spawn(move || {
            let printed = curl(&args).unwrap_or_else(|why| format!("curl {args:?}: {why}"));
            // Whoever asked may be gone.
            let _ = fs::write(answer, printed);
        });
    }
}

fn curl(args: &[String]) -> Result<String, String> {
    let (mut method, mut body, mut url, mut shows_head) = (None, None, None, false);
    let (mut headers, mut max_time) = (String::new(), None);
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} has no value"));
        match arg {
            "-s" | "-N" | "-sN" => {}
            "-i" | "-si" => shows_head = true,
            "-X" => method = Some(value()?),
            "-H" => headers += &[value()?, "\r\n"].concat(),
            "--json" => body = Some(value()?),
            "--max-time" => {
                let seconds = value()?.parse().map_err(|error| format!("{arg}: {error}"))?;
                max_time = Some(Duration::from_secs(seconds));
            }
            arg if arg.starts_with('-') => return Err(format!("the stand-in does not know {arg}; teach it")),
            arg => url = Some(arg),
        }
    }
    let url = url.and_then(|url| url.strip_prefix("http://")).ok_or("there is no URL")?;
    let (address, path) = url.split_at(url.find('/').ok_or("the URL has no path")?);
    let method = method.unwrap_or(if body.is_some() { "POST" } else { "GET" });
    if let Some(body) = body {
        headers += "Content-Type: application/json\r\n";
        headers += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
    }
    // In this version of the protocol a body has no frames of its own and ends with the connection.
    let request = format!("{method} {path} HTTP/1.0\r\n{headers}\r\n{}", body.unwrap_or_default());
    let mut answer = Vec::new();
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    // A stream that does not end is left when it has been silent for so long.
    stream.set_read_timeout(max_time).map_err(|error| error.to_string())?;
    match stream.read_to_end(&mut answer) {
        Err(error) if max_time.is_some() && error.kind() == std::io::ErrorKind::WouldBlock => {}
        read => drop(read.map_err(|error| error.to_string())?),
    }
    let answer = String::from_utf8(answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no head")?;
    let head = head.replacen("HTTP/1.0", "HTTP/1.1", 1).replace('\r', "");
    Ok(if shows_head { format!("{head}\n\n{body}") } else { body.to_owned() })
}

/// Connects; waits for a server that has just been started.
fn connect(address: &str) -> Result<TcpStream, String> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Err(error) if start.elapsed() > PATIENCE => return Err(error.to_string()),
            Err(_) => thread::sleep(Duration::from_millis(10)),
            Ok(stream) => return Ok(stream),
        }
    }
}

/// Whether the text is as expected, but for ids, times, and what `…` stands for.
fn is_as_expected(expected: &str, text: &str) -> bool {
    let expected = without_names(expected.trim_end());
    let Some((first, rest)) = expected.split_once('…') else { return text == expected };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// The text with `…` for ids, times and the header with the time.
fn without_names(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let len = name_len(rest);
        if len > 0 {
            kept.push('…');
            rest = &rest[len..];
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    kept
}

/// How long the id or time is with which the text begins; 0 if it begins with none.
fn name_len(text: &str) -> usize {
    for kind in ["session-", "turn-", "ckpt-", "chat-evd-", "run-"] {
        let digits = text.strip_prefix(kind).map_or(0, |id| span(id, |byte| byte.is_ascii_hexdigit()));
        if digits >= 12 {
            return kind.len() + digits;
        }
    }
    if text.starts_with("date: ") {
        return span(text, |byte| byte != b'\n');
    }
    let is_time = text.starts_with("20") && text.as_bytes().get(10) == Some(&b'T');
    if is_time { span(text, |byte| byte.is_ascii_digit() || b"-T:.Z".contains(&byte)) } else { 0 }
}

fn span(text: &str, holds: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| holds(*byte)).count()
}

#[test]
fn ids_times_and_dots_stand_for_any_text() {
    let id = "session-3f5b211138c24c9aa0c6d6c8c771cfe7";
    let other = "session-00000000000000000000000000000000";
    let page = format!("{id} at 2026-11-24T13:23:42.171712Z: \"a…z\"\n");
    assert!(is_as_expected(&page, &format!("{other} at 2030-01-01T00:00:00.000000Z: \"a to z\"")));
    assert!(!is_as_expected(&page, &format!("{other} at 2030-01-01T00:00:00.000000Z: \"a to y\"")));
    assert!(!is_as_expected("one\ntwo\n", "one\ntwo\nthree"));
    assert!(!is_as_expected("", "something"));
    assert!(is_as_expected("session-… is not cut\n", "session-1 is not cut"));
}

#[test]
fn commands_stand_behind_a_dollar_in_console_blocks_only() {
    let page = "$ no\n```sh\n$ no\n```\n```console\n$ a\n1\n\n2\n$ b\n```\n\n```console\n$ c\n```\n";
    let steps = steps_of(page);
    let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
    assert_eq!(commands, ["a", "b", "c"]);
    assert_eq!(steps[0].expected, "1\n\n2\n");
}
