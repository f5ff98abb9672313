//! Identifiers: newtypes that are built only by parsing or from an [`IdSource`].
//!
//! Public identifiers keep the prefixes that existing clients know (`session-`, `turn-`, `ckpt-`),
//! followed by 32 hex digits. Identifiers of any other form, as old files hold them, are accepted and
//! kept as they are. Numbers of segments and histories are the store's own counters and never leave it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::error::ValueError;
use crate::text::hex;

/// The longest identifier that is accepted, in bytes. Old files hold ids of any form; this bound only
/// keeps a hostile one from filling an index.
pub const MAX_ID_BYTES: usize = 64 * 1024;

/// Where new identifiers come from. Passed in, so that a test or a simulation can own them.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// 128 bits that no earlier call returned, with overwhelming probability.
    fn next_bits(&self) -> u128;
}

/// Identifiers from the operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws random ids")]
    fn next_bits(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

/// Identifiers that count upwards from a start value: for tests and simulations.
#[derive(Debug, Default)]
pub struct SequentialIds {
    next: AtomicU64,
}

impl SequentialIds {
    /// A source whose first value is `start`.
    pub fn starting_at(start: u64) -> Self {
        Self { next: AtomicU64::new(start) }
    }
}

impl IdSource for SequentialIds {
    fn next_bits(&self) -> u128 {
        u128::from(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new identifier with this kind's prefix and 32 hex digits.
            pub fn generate(source: &dyn IdSource) -> Self {
                Self(format!(concat!($prefix, "{:032x}"), source.next_bits()).into())
            }

            /// Accepts an identifier as a client or a file gives it.
            ///
            /// # Errors
            /// [`ValueError::Empty`] for the empty text, [`ValueError::TooLong`] over [`MAX_ID_BYTES`].
            pub fn parse(text: &str) -> Result<Self, ValueError> {
                if text.is_empty() {
                    return Err(ValueError::Empty { what: $what });
                }
                if text.len() > MAX_ID_BYTES {
                    return Err(ValueError::TooLong {
                        what: $what,
                        bytes: text.len(),
                        max_bytes: MAX_ID_BYTES,
                    });
                }
                Ok(Self(text.into()))
            }

            /// Takes back an identifier that a store holds, whatever its form.
            pub fn from_stored(text: &str) -> Self {
                Self(text.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id!(
    /// Names a session.
    SessionId, "session id", "session-"
);
text_id!(
    /// Names a turn. Stable over forks and merges, which share turns.
    TurnId, "turn id", "turn-"
);
text_id!(
    /// Names a checkpoint.
    CheckpointId, "checkpoint id", "ckpt-"
);
text_id!(
    /// Names a run, the unfinished turn.
    RunId, "run id", "run-"
);
text_id!(
    /// Names a running Membrane process, the owner of leases.
    InstanceId, "instance id", "instance-"
);

/// A lease's token: a write of a run that carries another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub u64);

impl LeaseToken {
    /// A new token, in 0..2^63 so that every database can hold it as an integer.
    pub fn generate(source: &dyn IdSource) -> Self {
        // A counter sits in the low bits, random bits are everywhere: the low half serves both.
        let bits = source.next_bits() & u128::from(u64::MAX >> 1);
        Self(u64::try_from(bits).unwrap_or(0))
    }
}

/// A segment's number, given by the store that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub i64);

/// A history's number, given by the store that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId(pub i64);

/// The evidence object's identifier, a function of the session's: evidence is derived, so is its name.
pub fn evidence_id(session: &SessionId) -> String {
    let digest = Sha256::digest(session.as_str().as_bytes());
    format!("chat-evd-{}", hex(&digest[..6]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_have_the_prefix_and_32_hex_digits() {
        let source = SequentialIds::starting_at(255);
        let id = SessionId::generate(&source);
        assert_eq!(id.as_str(), "session-000000000000000000000000000000ff");
        assert_ne!(id, SessionId::generate(&source));
    }

    #[test]
    fn ids_of_any_form_are_kept_as_they_are() {
        for text in ["7", "a b/ü\0", "550e8400-e29b-41d4-a716-446655440000"] {
            assert_eq!(SessionId::parse(text).unwrap().as_str(), text);
        }
        assert!(SessionId::parse("").is_err());
        assert!(SessionId::parse(&"x".repeat(MAX_ID_BYTES + 1)).is_err());
    }
}
