//! Idempotency keys: a request that comes again gets the answer of the first time.

use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_store::change::KEY_LIFETIME;
use membrane_store::{IdempotencyKey, Receipt, SessionStamp, StoreError, codec};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::record::Tx;
use crate::error::Doing;

/// The receipt of the first time, if the key is known. An expired one makes room.
pub(super) fn replay(
    conn: &Connection,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Option<Receipt>, StoreError> {
    let doing = "look for an idempotency key";
    let name = [&key.route, scope(key), &key.key];
    let found: Option<(Vec<u8>, String, String, i64)> = conn
        .prepare_cached(
            "SELECT body_hash, result, stamps_json, created_at FROM idempotency_keys \
             WHERE route = ?1 AND session_id = ?2 AND key = ?3",
        )
        .and_then(|mut statement| {
            statement
                .query_row(name, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .optional()
        })
        .doing(doing)?;
    let Some((body_hash, result, stamps, made_at)) = found else { return Ok(None) };
    if made_at < now.minus(KEY_LIFETIME).as_micros() {
        conn.prepare_cached("DELETE FROM idempotency_keys WHERE route = ?1 AND session_id = ?2 AND key = ?3")
            .and_then(|mut statement| statement.execute(name))
            .doing("forget an idempotency key")?;
        return Ok(None);
    }
    if body_hash != key.body_hash {
        return Err(StoreError::KeyReused { key: key.key.clone() });
    }
    let sessions = codec::decode_stamps(&stamps)
        .map_err(|error| StoreError::inconsistent("idempotency_keys", &key.key, error))?;
    Ok(Some(Receipt { sessions, result, replayed: true }))
}

/// Stores the answer under the key, and with which sessions the key goes.
pub(super) fn remember(tx: &Tx<'_>, key: &IdempotencyKey, stamps: &[SessionStamp]) -> Result<(), StoreError> {
    let stamps = codec::encode_stamps(stamps)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO idempotency_keys \
             (route, session_id, key, body_hash, result, stamps_json, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                key.route,
                scope(key),
                key.key,
                key.body_hash.as_slice(),
                key.result,
                stamps,
                tx.now.as_micros(),
            ])
        })
        .doing("remember an idempotency key")?;
    for created in &tx.created {
        tx.conn
            .prepare_cached(
                "INSERT INTO idempotency_key_creations (created_session_id, route, session_id, key) \
                 VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut statement| statement.execute([created.as_str(), &key.route, scope(key), &key.key]))
            .doing("remember an idempotency key's sessions")?;
    }
    Ok(())
}

/// Forgets keys that were made before `before`.
pub(super) fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<(), StoreError> {
    tx.conn
        .prepare_cached("DELETE FROM idempotency_keys WHERE created_at < ?1")
        .and_then(|mut statement| statement.execute([before.as_micros()]))
        .doing("forget idempotency keys")?;
    Ok(())
}

/// Forgets the keys of a session that goes, and those that created it.
pub(super) fn forget_session(tx: &Tx<'_>, session: &SessionId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM idempotency_keys WHERE session_id = ?1",
        "DELETE FROM idempotency_keys WHERE (route, session_id, key) IN \
         (SELECT route, session_id, key FROM idempotency_key_creations WHERE created_session_id = ?1)",
    ] {
        tx.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([session.as_str()]))
            .doing("forget idempotency keys")?;
    }
    Ok(())
}

fn scope(key: &IdempotencyKey) -> &str {
    key.session.as_ref().map_or("", SessionId::as_str)
}
