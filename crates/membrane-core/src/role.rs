//! Roles: work on a keep as a whole, which one of its instances does for all of them.
//!
//! Who has a role, and for how long, is the store's to say (`membrane-store`); the work itself is not here.

use crate::words::words;

words!(
    /// Work that one instance does for all.
    Role, "role", "sweeper", {
        /// Forgets what has had its time: idempotency keys and events.
        Sweeper = "sweeper",
    }
);
