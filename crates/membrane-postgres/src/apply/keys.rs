//! Idempotency keys: a request that comes again gets the answer of the first time.

use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_store::change::KEY_LIFETIME;
use membrane_store::{IdempotencyKey, Receipt, SessionStamp, StoreError, codec};
use tokio_postgres::Row;

use super::tx::{Meaning, Tx};
use crate::db::Statement;
use crate::rows::{self, get};
use crate::value::values;

/// Looks the key up.
pub(super) fn look_up(key: &IdempotencyKey) -> Statement<'_> {
    Statement {
        sql: "SELECT key, body_hash, result, stamps_json, created_at FROM idempotency_keys \
              WHERE route = $1 AND session_id = $2 AND key = $3",
        values: values![key.route.as_str(), scope(key), key.key.as_str()].into(),
    }
}

/// The receipt of the first time, if the key was found. An expired one makes room.
pub(super) fn replay<'a>(
    tx: &mut Tx<'a>,
    key: &'a IdempotencyKey,
    found: Option<&Row>,
) -> Result<Option<Receipt>, StoreError> {
    let Some(found) = found else { return Ok(None) };
    let (body_hash, result, stamps, made_at) = rows::read("idempotency_keys", found, |row| {
        Ok((get::<Vec<u8>>(row, 1)?, rows::text(row, 2)?, rows::text(row, 3)?, rows::micros(row, 4)?))
    })?;
    if made_at < tx.now.minus(KEY_LIFETIME) {
        tx.put(
            "forget an idempotency key",
            "DELETE FROM idempotency_keys WHERE route = $1 AND session_id = $2 AND key = $3",
            values![key.route.as_str(), scope(key), key.key.as_str()],
        );
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
pub(super) fn remember<'a>(
    tx: &mut Tx<'a>,
    key: &'a IdempotencyKey,
    stamps: &[SessionStamp],
) -> Result<(), StoreError> {
    tx.put_meaning(
        "remember an idempotency key",
        "INSERT INTO idempotency_keys (route, session_id, key, body_hash, result, stamps_json, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![
            key.route.as_str(),
            scope(key),
            key.key.as_str(),
            key.body_hash.as_slice(),
            key.result.as_str(),
            codec::encode_stamps(stamps)?,
            tx.now.as_micros(),
        ],
        Meaning::Overtaken,
    );
    for created in std::mem::take(&mut tx.created) {
        tx.put(
            "remember an idempotency key's sessions",
            "INSERT INTO idempotency_key_creations (created_session_id, route, session_id, key) \
             VALUES ($1, $2, $3, $4)",
            values![created.to_string(), key.route.as_str(), scope(key), key.key.as_str()],
        );
    }
    Ok(())
}

/// Forgets keys that were made before `before`, but for those that somebody else is at.
pub(super) fn forget(tx: &mut Tx<'_>, before: Timestamp) {
    tx.put(
        "forget idempotency keys",
        "DELETE FROM idempotency_keys WHERE (route, session_id, key) IN ( \
             SELECT route, session_id, key FROM idempotency_keys WHERE created_at < $1 FOR UPDATE SKIP LOCKED)",
        values![before.as_micros()],
    );
}

/// Forgets the keys of a session that goes, and those that created it.
pub(super) fn forget_session<'a>(tx: &mut Tx<'a>, session: &'a SessionId) {
    tx.put(
        "forget idempotency keys",
        "DELETE FROM idempotency_keys WHERE session_id = $1 OR (route, session_id, key) IN \
         (SELECT route, session_id, key FROM idempotency_key_creations WHERE created_session_id = $1)",
        values![session.as_str()],
    );
}

fn scope(key: &IdempotencyKey) -> &str {
    key.session.as_ref().map_or("", SessionId::as_str)
}
