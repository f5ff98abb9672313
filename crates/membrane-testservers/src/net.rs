//! Ports, and asking a server whether it is there.
//!
//! Not here: what is talked about afterwards.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::error::ServerError;

/// Ports below those that the system gives to outgoing connections. One of theirs could be taken while its server is
/// stopped, by the very clients that try to reach it again: a connection to itself.
const FIRST_PORT: u16 = 10_240;
const N_PORTS: u16 = 22_000;
/// How often a server is tried on another port.
const N_ATTEMPTS: u32 = 20;
/// A server that is there and says nothing for so long is not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a server on a free port: `start` is called again with another one if somebody else was quicker.
pub(crate) fn on_free_port<T>(start: impl Fn(u16) -> Result<T, ServerError>) -> Result<T, ServerError> {
    let mut attempt = 1;
    loop {
        match start(free_port()?) {
            Err(error) if error.is_taken_port() && attempt < N_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// A port of 127.0.0.1 on which nobody listens now. Processes begin at different places, and go on from there.
fn free_port() -> Result<u16, ServerError> {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let first = process::id().wrapping_mul(7_919) % u32::from(N_PORTS);
    let mut last_error = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..N_PORTS {
        let step = u32::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let place = u16::try_from((first + step) % u32::from(N_PORTS)).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST_PORT + place)) {
            Ok(_) => return Ok(FIRST_PORT + place),
            Err(error) => last_error = error,
        }
    }
    Err(ServerError::io("find a free port of 127.0.0.1")(last_error))
}

/// Whether what listens on the socket speaks PostgreSQL's protocol and would let `user` go on to log in.
pub(crate) fn accepts_login(socket: &Path, user: &str, database: &str) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = 196_608_u32.to_be_bytes().to_vec();
    for word in ["user", user, "database", database, ""] {
        message.extend_from_slice(word.as_bytes());
        message.push(0);
    }
    let length = u32::try_from(message.len() + 4).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &message].concat())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    // An error, as while it is starting up, would be an E.
    Ok(answer == *b"R")
}

/// Whether a folder for sockets is short enough; the system allows paths of about 100 bytes.
pub(crate) fn check_socket_folder(folder: &Path) -> Result<(), ServerError> {
    let longest = folder.join(".s.PGSQL.65535.lock");
    if longest.as_os_str().len() < 104 {
        return Ok(());
    }
    // What the server itself would say of it names neither the limit nor the remedy.
    let error =
        io::Error::new(io::ErrorKind::InvalidFilename, "the path is too long; set TMPDIR to a shorter one");
    Err(ServerError::path("put a socket into", folder)(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first port that the system may give to an outgoing connection.
    fn first_ephemeral_port() -> Option<u16> {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        range.split_whitespace().next()?.parse().ok()
    }

    #[test]
    fn ports_are_free_differ_and_are_not_those_of_outgoing_connections() {
        let (one, two) = (free_port().expect("a port is free"), free_port().expect("a port is free"));
        assert_ne!(one, two);
        let limit = first_ephemeral_port().unwrap_or(32_768).max(FIRST_PORT + N_PORTS);
        assert!(one < limit && two < limit, "{one} {two} {limit}");
    }

    #[test]
    fn a_server_whose_port_was_taken_meanwhile_is_tried_on_another() {
        let ports = std::cell::RefCell::new(Vec::new());
        let outcome = on_free_port(|port| {
            ports.borrow_mut().push(port);
            if ports.borrow().len() < 3 {
                let log = "could not bind: Address already in use".to_owned();
                return Err(ServerError::NotReady { server: "it", why: "ended".to_owned(), log });
            }
            Ok(port)
        });
        let ports = ports.into_inner();
        assert_eq!(outcome.expect("the third one is free"), ports[2]);
        assert_ne!(ports[0], ports[2]);
    }

    #[test]
    fn a_socket_in_a_deep_folder_is_refused_with_the_remedy() {
        let error =
            check_socket_folder(&Path::new("/tmp").join("x".repeat(100))).expect_err("it is too long");
        assert!(error.to_string().contains("set TMPDIR"), "{error}");
    }
}
