//! What a caller may say beside what is to be done: the version it decided on, and a key that makes
//! a call happen once. What is to be done is said where it is done.

use membrane_core::ids::SessionId;
use membrane_store::IdempotencyKey;
use sha2::{Digest, Sha256};

use crate::error::ChatError;
use crate::limits::check_key;

/// Names a call, so that making it again does nothing twice and gives the same answer.
///
/// Its scope is the kind of call and the session; it is remembered for 24 hours and goes with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The client's word, 1..=255 bytes.
    pub key: String,
    /// A hash of all that the client asks for: the same key with another body is refused.
    pub body_hash: [u8; 32],
}

impl ClientKey {
    /// The key for a request with this body.
    pub fn for_body(key: impl Into<String>, body: &[u8]) -> Self {
        Self { key: key.into(), body_hash: Sha256::digest(body).into() }
    }
}

/// How a write is to be made; the default makes it on whatever version there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// The version that the session must be at, else the call is a [`ChatError::Conflict`].
    pub expected_version: Option<u64>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

impl WriteOptions {
    /// On condition that the session is at `version`.
    pub fn at_version(version: u64) -> Self {
        Self { expected_version: Some(version), key: None }
    }

    /// Once per key.
    pub fn once(key: ClientKey) -> Self {
        Self { expected_version: None, key: Some(key) }
    }
}

/// A checked key with its scope; the result, what a replay gives back, follows with [`Scope::with`].
#[derive(Debug, Clone)]
pub(crate) struct Scope(IdempotencyKey);

impl Scope {
    /// # Errors
    /// [`ChatError::TooLarge`] and [`ChatError::Refused`] for a key that is too long or empty.
    pub(crate) fn new(
        route: &str,
        session: Option<&SessionId>,
        key: Option<ClientKey>,
    ) -> Result<Option<Self>, ChatError> {
        let Some(ClientKey { key, body_hash }) = key else { return Ok(None) };
        check_key(&key)?;
        Ok(Some(Self(IdempotencyKey {
            route: route.to_owned(),
            session: session.cloned(),
            key,
            body_hash,
            result: String::new(),
        })))
    }

    pub(crate) fn with(&self, result: impl Into<String>) -> IdempotencyKey {
        IdempotencyKey { result: result.into(), ..self.0.clone() }
    }

    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.0.session.as_ref()
    }
}
