//! Advisory locks are numbers: what stands for what, so that no two things are one. Those of migrations, families of
//! sessions and the numbering of events are where they are taken.

use sha2::{Digest, Sha256};

/// 64 bits that stand for these words, away from the two halves that migrations use.
pub(crate) fn key(words: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.len().to_be_bytes());
        hash.update(word.as_bytes());
    }
    hash.finalize().iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}
