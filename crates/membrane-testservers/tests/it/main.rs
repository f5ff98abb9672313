//! The servers themselves: that they answer, and that they go when they should.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod lifetime;
mod model;
mod pgbouncer;
mod postgres;
mod redis;

/// A client that is connected, and whose connection ends with it.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
