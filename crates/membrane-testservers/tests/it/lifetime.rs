//! A server does not outlive the process that started it, however that one ends.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use membrane_testservers::Postgres;

/// The program of this crate, serving PostgreSQL, and the port of that.
fn serving() -> (Child, u16) {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_membrane-testservers"))
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut url = String::new();
    BufReader::new(owner.stdout.take().expect("it is piped")).read_line(&mut url).expect("it says where");
    let port = url.trim().rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
    (owner, port.unwrap_or_else(|| panic!("{url:?} has no port")))
}

/// Whether anything that belongs to the server on this port is still there.
fn is_there(port: u16) -> bool {
    let socket = format!(".s.PGSQL.{port}");
    TcpStream::connect(("127.0.0.1", port)).is_ok() || folders().any(|folder| folder.join(&socket).exists())
}

fn folders() -> impl Iterator<Item = std::path::PathBuf> {
    let places = [std::env::temp_dir(), "/tmp".into(), "/dev/shm".into()];
    places
        .into_iter()
        .filter(|place| place.exists())
        .flat_map(|place| std::fs::read_dir(place).expect("it can be listed").flatten())
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("membrane-")))
}

fn wait_until_gone(port: u16) {
    let until = Instant::now() + Duration::from_secs(30);
    while is_there(port) {
        assert!(Instant::now() < until, "the server on port {port} outlived its owner");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_goes_with_its_owner_when_that_is_killed() {
    let (mut owner, port) = serving();
    assert!(is_there(port));
    owner.kill().expect("it is running");
    owner.wait().expect("it is ours");
    wait_until_gone(port);
}

#[test]
fn a_server_that_stands_still_goes_with_its_owner_too() {
    const ROLE: &str = "MEMBRANE_TEST_ROLE";
    const NAME: &str = "lifetime::a_server_that_stands_still_goes_with_its_owner_too";
    #[expect(clippy::disallowed_methods, reason = "it tells the second process of this test from the first")]
    if std::env::var_os(ROLE).is_some() {
        let postgres = Postgres::start().expect("PostgreSQL is installed");
        postgres.pause().expect("it is running");
        println!("\npaused {}", postgres.port());
        std::io::stdin().read_line(&mut String::new()).expect("it is piped");
        return;
    }
    let mut owner = Command::new(std::env::current_exe().expect("it is running"))
        .args(["--exact", NAME, "--nocapture"])
        .env(ROLE, "owner")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is this program");
    let lines = BufReader::new(owner.stdout.take().expect("it is piped")).lines();
    let port = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("paused ")?.parse().ok())
        .expect("it says its port");
    assert!(is_there(port));
    owner.kill().expect("it is running");
    owner.wait().expect("it is ours");
    wait_until_gone(port);
}

#[test]
fn a_server_goes_before_its_owner_when_its_input_ends() {
    let (mut owner, port) = serving();
    drop(owner.stdin.take());
    assert!(owner.wait().expect("it is ours").success());
    assert!(!is_there(port), "it is gone when the program is");
}
