//! Numbers of segments and histories: 15 bits of a hash of the family, then 48 of a sequence.
//!
//! A family of forks is one range of keys in every table. Numbers are fetched several at a time; those that a process does
//! not use are nobody's.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use membrane_core::ids::SessionId;
use membrane_store::StoreError;
use sha2::{Digest, Sha256};

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{self, get};
use crate::value::values;

/// How many are fetched at a time at least.
const RESERVE: usize = 64;

/// Numbers in reserve.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    reserve: Mutex<VecDeque<i64>>,
}

impl Numbers {
    /// `n` numbers for a family, never given before.
    pub(super) async fn take(
        &self,
        db: Db<'_>,
        family: &SessionId,
        n: usize,
    ) -> Result<Vec<i64>, StoreError> {
        let reserved = self.take_reserved(n);
        let plain = if reserved.len() == n {
            reserved
        } else {
            let doing = "fetch numbers";
            let wanted = i64::try_from(n.max(RESERVE)).unwrap_or(i64::MAX);
            let sql = "SELECT nextval('membrane_numbers') FROM generate_series(1, $1)";
            let found = db.query(sql, &values![wanted]).await.doing(doing)?;
            let mut fetched = rows::collect("membrane_numbers", &found, |row| get::<i64>(row, 0))?;
            let rest = fetched.split_off(n.min(fetched.len()));
            self.reserve.lock().unwrap_or_else(PoisonError::into_inner).extend(rest);
            fetched
        };
        let prefix = prefix(family);
        Ok(plain.into_iter().map(|number| prefix | number).collect())
    }

    /// All `n` or none. The smallest first: what is made later lies behind what was made before.
    fn take_reserved(&self, n: usize) -> Vec<i64> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        if reserve.len() < n { Vec::new() } else { reserve.drain(..n).collect() }
    }
}

/// What the numbers of a family begin with.
fn prefix(family: &SessionId) -> i64 {
    let digest = Sha256::digest(family.as_str().as_bytes());
    let bits = digest.iter().take(2).fold(0_i64, |bits, byte| bits << 8 | i64::from(*byte));
    (bits >> 1) << 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_familys_numbers_are_positive_and_lie_together() {
        for name in ["", "a", "session-1", "ü"] {
            let prefix = prefix(&SessionId::from_stored(name));
            assert!(prefix >= 0 && prefix.trailing_zeros() >= 48, "{name}");
        }
        assert_ne!(prefix(&SessionId::from_stored("a")), prefix(&SessionId::from_stored("b")));
    }
}
