//! What tells one turn from another when a file is loaded again: its words and its start.

use membrane_core::time::Timestamp;
use sha2::{Digest, Sha256};

/// A digest of a turn's texts and its start: SHA-256 over each text with its length before it, and the microseconds.
pub fn digest(user: &str, reply: &str, started_at: Timestamp) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [user, reply] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(started_at.as_micros().to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_text_ends_and_the_other_begins_counts_and_so_does_a_microsecond() {
        let at = Timestamp::from_micros;
        let digests = [
            digest("ab", "c", at(0)),
            digest("a", "bc", at(0)),
            digest("abc", "", at(0)),
            digest("ab", "c", at(1)),
        ];
        let different: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
        assert_eq!(digests[0], digest("ab", "c", at(0)));
    }
}
