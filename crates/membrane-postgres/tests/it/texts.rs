//! Texts that PostgreSQL cannot hold as they are, and long ones.

use std::sync::Arc;

use membrane_core::session::NewSession;
use membrane_postgres::{Pooler, PostgresOptions, PostgresStore};
use membrane_store::Write;
use membrane_store::change::Origin;
use membrane_store::conformance::fixture::{Fixture, append, json};
use membrane_testservers::{PgBouncer, PoolMode, Postgres};

use crate::keep::{database, open, options};

/// Sends a turn of 4 MiB a side, and one full of NULs, and reads both back.
async fn come_back(f: &Fixture) {
    let long = "é\0\u{1}0🙂 and so on, ".repeat((4 << 20) / 25);
    let odd = ["\0", "\u{1}", "\u{1}0\0\u{1}1", "\0\0\0"].map(|text| f.turn(text));
    let mut huge = f.turn(&long);
    huge.assistant.content = long.chars().rev().collect();
    let id = f.session_id();
    let session = NewSession {
        project_id: Some("p\0".into()),
        title: Some("\0t\u{1}".into()),
        tags: vec!["\0".into()],
        metadata: json(r#"{"a":"\u0000","b":"\u0001"}"#),
        ..NewSession::root(id.clone())
    };
    let origin = Origin::Empty { legacy: Vec::new() };
    f.write(Write::CreateSession { session: session.clone(), origin, created_at: None }).await;
    let turns: Vec<_> = odd.into_iter().chain([huge]).collect();
    for turn in &turns {
        f.write(append(&id, vec![turn.clone()])).await;
    }
    let thread = f.thread(&id).await;
    let found = thread.session;
    assert_eq!((found.project_id, found.title), (session.project_id, session.title));
    assert_eq!((found.tags, found.metadata), (session.tags, session.metadata));
    let n_bytes =
        turns.iter().map(|turn| turn.user.content.len() + turn.assistant.content.len()).sum::<usize>();
    assert_eq!(f.stats().await.text_bytes_shown, u64::try_from(n_bytes).unwrap(), "as they were said");
    for (kept, turn) in thread.turns.into_iter().zip(turns) {
        assert!(kept.turn == turn, "turn {}", kept.number);
    }
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_with_nul_and_of_four_mebibytes_come_back_byte_for_byte() {
    let database = database();
    come_back(&Fixture::new(Arc::new(open(database.url()).await))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_do_so_through_a_pooler_too() {
    let database = database();
    let pooler = PgBouncer::start(&Postgres::shared().unwrap().admin_url(), PoolMode::Transaction).unwrap();
    let options = PostgresOptions { pooler: Pooler::Transaction, ..options(pooler.url(database.name())) };
    come_back(&Fixture::new(Arc::new(PostgresStore::open(options).await.unwrap()))).await;
}
