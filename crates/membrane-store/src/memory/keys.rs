//! Idempotency keys: a request that comes again gets the answer of the first time.

use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;

use super::apply::Tx;
use super::state::{State, listed};
use crate::change::KEY_LIFETIME;
use crate::{IdempotencyKey, Receipt, SessionStamp, StoreError};

/// What a key is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyName {
    session: Option<SessionId>,
    route: String,
    key: String,
}

impl KeyName {
    fn of(key: &IdempotencyKey) -> Self {
        Self { session: key.session.clone(), route: key.route.clone(), key: key.key.clone() }
    }

    /// Before all others.
    fn first() -> Self {
        Self { session: None, route: String::new(), key: String::new() }
    }
}

/// The answer of the first time.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    body_hash: [u8; 32],
    result: String,
    stamps: Vec<SessionStamp>,
    /// The sessions with which it goes: the one it is about and those that its change created.
    goes_with: Vec<SessionId>,
    made_at: Timestamp,
}

impl State {
    /// The receipt of the first time, if the key is known.
    pub(super) fn replay(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Receipt>, StoreError> {
        let known = self.keys.get(&KeyName::of(key)).filter(|row| row.made_at >= now.minus(KEY_LIFETIME));
        match known {
            None => Ok(None),
            Some(row) if row.body_hash != key.body_hash => {
                Err(StoreError::KeyReused { key: key.key.clone() })
            }
            Some(row) => {
                Ok(Some(Receipt { sessions: row.stamps.clone(), result: row.result.clone(), replayed: true }))
            }
        }
    }
}

impl Tx<'_> {
    /// Stores the answer under the key; an expired one is replaced.
    pub(super) fn remember(&mut self, key: IdempotencyKey, stamps: &[SessionStamp]) {
        let name = KeyName::of(&key);
        self.forget_key(&name);
        let mut goes_with = self.created.clone();
        goes_with.extend(key.session);
        for session in &goes_with {
            self.state.keys_of.put((session.clone(), name.clone()), ());
        }
        let row = KeyRow {
            body_hash: key.body_hash,
            result: key.result,
            stamps: stamps.to_vec(),
            goes_with,
            made_at: self.now,
        };
        self.state.keys.put(name, row);
    }

    /// Forgets keys that were made before `before`.
    pub(super) fn forget_keys(&mut self, before: Timestamp) {
        let old: Vec<KeyName> = self
            .state
            .keys
            .iter()
            .filter(|(_, row)| row.made_at < before)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &old {
            self.forget_key(name);
        }
    }

    /// Forgets the keys that go with a session.
    pub(super) fn forget_keys_of(&mut self, session: &SessionId) {
        let names: Vec<KeyName> = listed(&self.state.keys_of, session, KeyName::first()).cloned().collect();
        for name in &names {
            self.forget_key(name);
        }
    }

    fn forget_key(&mut self, name: &KeyName) {
        if let Some(row) = self.state.keys.remove(name) {
            for session in row.goes_with {
                self.state.keys_of.remove(&(session, name.clone()));
            }
        }
    }
}
