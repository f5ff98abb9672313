//! What stands between: whether a connection stays with its client, and whether the settings say so.
//!
//! A pooler that gives connections away after each transaction is noticed by what it does: while another client holds the
//! connection that was just used, the next statement is answered by another one.

use membrane_store::doctor::Check;
use tokio_postgres::Error;

use crate::connect::Connector;
use crate::error::{OpenError, whole};
use crate::open;
use crate::options::{Pooler, PostgresOptions};

const NAME: &str = "pooler";

/// How often it is tried: somebody else may take the connection in between.
const N_TRIES: u32 = 3;

pub(super) async fn look(options: &PostgresOptions) -> Vec<Check> {
    // Without greeting: a pooler would tell it to a connection of others.
    let plain = PostgresOptions { pooler: Pooler::Transaction, ..options.clone() };
    let moves = match Connector::new(&plain) {
        Ok(connector) => within(&connector, moves(&connector)).await,
        Err(error) => Err(whole(&error)),
    };
    let mut checks = vec![match (moves, options.pooler) {
        (Err(problem), _) => Check::note(NAME, format!("whether there is one cannot be told: {problem}")),
        (Ok(true), Pooler::None) => Check::problem(
            NAME,
            "a pooler gives connections away after each transaction, and chat.postgres.pooler does not say so: prepared \
             statements fail, and the locks that tell who lives do not hold",
            "set chat.postgres.pooler: transaction, and chat.postgres.direct_url to a way past it",
        ),
        (Ok(true), Pooler::Transaction) if options.direct_url.is_none() => Check::note(
            NAME,
            "a pooler gives connections away after each transaction, as is set; no server is known to be dead before its \
             leases have ended",
        )
        .with_remedy("set chat.postgres.direct_url to a way past it"),
        (Ok(true), Pooler::Transaction) => {
            Check::ok(NAME, "a pooler gives connections away after each transaction, as is set")
        }
        (Ok(false), Pooler::Transaction) => Check::note(
            NAME,
            "chat.postgres.pooler is transaction, and connections stay with their clients: every statement is prepared \
             anew for nothing, unless the pooler is only at rest",
        )
        .with_remedy("set chat.postgres.pooler: none"),
        (Ok(false), Pooler::None) => Check::ok(NAME, "none that takes a connection from its client"),
    }];
    if options.direct_url.is_some() {
        checks.push(direct(options, &plain).await);
    }
    checks
}

/// Whether the way past the pooler leads to the same database, and past it.
async fn direct(options: &PostgresOptions, plain: &PostgresOptions) -> Check {
    let remedy = "correct chat.postgres.direct_url: the same database, without the pooler";
    let ways = Connector::direct(options).and_then(|direct| Ok((direct, Connector::new(plain)?)));
    let (direct, pooled) = match ways {
        Ok((Some(direct), pooled)) => (direct, pooled),
        Ok((None, _)) => return Check::ok(NAME, "there is no way past it"),
        Err(error) => return Check::problem(NAME, whole(&error), remedy),
    };
    let here = within(&pooled, identity(&pooled)).await;
    let there = within(&direct, async { Ok((identity(&direct).await?, moves(&direct).await?)) }).await;
    match (here, there) {
        (_, Err(problem)) => {
            Check::problem(NAME, format!("chat.postgres.direct_url leads nowhere: {problem}"), remedy)
        }
        (Ok(here), Ok((there, _))) if here != there => {
            Check::problem(NAME, "chat.postgres.direct_url leads to another database", remedy)
        }
        (_, Ok((_, true))) => {
            Check::problem(NAME, "chat.postgres.direct_url leads through a pooler, too", remedy)
        }
        _ => Check::ok(NAME, "chat.postgres.direct_url leads past it to the same database"),
    }
}

async fn within<T>(connector: &Connector, work: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    // Three connections are made, one after the other.
    match tokio::time::timeout(connector.timeout() * 3, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let error: OpenError = crate::refusal::connect_error(connector, error).await;
            Err(whole(&error))
        }
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Whether a client's next statement may go to another process of the server.
async fn moves(connector: &Connector) -> Result<bool, Error> {
    let (one, other) = (connector.link().await?, connector.link().await?);
    for _ in 0..N_TRIES {
        let before = one.value("SELECT pg_backend_pid()").await?;
        other.client.batch_execute("BEGIN").await?;
        let taken = other.value("SELECT pg_backend_pid()").await;
        let after = one.value("SELECT pg_backend_pid()").await;
        other.client.batch_execute("ROLLBACK").await?;
        let (taken, after) = (taken?, after?);
        if taken == before || after != before {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What no other database has.
async fn identity(connector: &Connector) -> Result<String, Error> {
    connector.link().await?.value(open::WHICH).await
}
