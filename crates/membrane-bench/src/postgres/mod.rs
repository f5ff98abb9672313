//! The same on PostgreSQL: appends and loads beside bare `tokio-postgres`, on one private server with `fsync` on.

mod append;
mod constant;
pub(crate) mod events;
mod floor;
mod load;
pub(crate) mod server;

use crate::Failure;
use crate::report::Report;

/// Measures all of it.
pub(crate) async fn measure(report: &mut Report) -> Result<(), Failure> {
    let server = server::Server::start()?;
    report.note(format!("PostgreSQL {}", server.version().await?));
    append::measure(&server, report).await?;
    constant::measure(&server, report).await?;
    load::measure(&server, report).await
}
