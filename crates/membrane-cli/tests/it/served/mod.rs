//! The real server over real connections: killed, told to stop, out of room, not alone on its file, and beset by
//! clients that are slow.
//!
//! Not here: what each route answers, which is `membrane-http`'s; and what commands print.

mod backups;
mod draining;
mod examined;
mod feed;
mod full_disk;
mod http;
mod keys;
mod killed;
mod leading;
mod many_servers;
mod models;
mod on_postgres;
mod recovery;
mod server;
mod slow_clients;
mod starting;
mod stopping;
mod two_servers;
