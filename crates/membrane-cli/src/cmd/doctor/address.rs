//! Whether the server's address is free, and who listens there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::processes::{self, Holders};
use super::run::{Check, Look};

const NAME: &str = "address";

/// A listener on this machine answers at once.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn look(addr: SocketAddr, holders: &Holders, found: &mut Look) {
    if addr.port() == 0 {
        return found.add(Check::ok(NAME, "the system chooses the server's port"));
    }
    if TcpStream::connect_timeout(&reachable(addr), PATIENCE).is_err() {
        return found.add(Check::ok(NAME, format!("nobody listens on {addr}; no server runs there")));
    }
    let listener = processes::listener(addr.port());
    let check = match listener {
        Some(listener) if holders.has(listener.pid) => {
            Check::ok(NAME, format!("{listener} serves this database on {addr}"))
        }
        // A database on a server is open in nobody's files.
        Some(listener) if !holders.can_tell => Check::note(
            NAME,
            format!("{listener} listens on {addr}; if it is no server of yours, it has your address"),
        )
        .with_remedy("for a second server choose another address: membrane serve --addr 127.0.0.1:0"),
        Some(listener) => {
            Check::note(NAME, format!("{listener} listens on {addr}, and does not have this database open"))
                .with_remedy("for a second server choose another address: membrane serve --addr 127.0.0.1:0")
        }
        None => Check::note(NAME, format!("somebody listens on {addr}; which process it is cannot be told"))
            .with_remedy(format!("lsof -i :{}", addr.port())),
    };
    found.add(check);
}

/// Where a server that listens on all addresses can be reached.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
