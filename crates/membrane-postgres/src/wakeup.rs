//! What instances that wake each other have in common: the channel on which they do it, and the lock that says that
//! somebody listens there. Both are of one keep: two keeps in one database do not hear each other.
//!
//! A wake-up says nothing but "look": what happened is read from the table. Telling is in `herald.rs`, listening in
//! `listener.rs`.

use crate::advisory;

/// Where the instances of a keep wake each other.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    /// What is listened to, a name that needs no quotes.
    pub(crate) name: String,
    /// The advisory lock that whoever listens holds, shared with others.
    pub(crate) lock: i64,
}

impl Channel {
    /// The channel of the keep in this schema.
    pub(crate) fn of(schema: &str) -> Self {
        let lock = advisory::key(&["membrane listeners", schema]);
        Self { name: format!("membrane_{:016x}", lock.cast_unsigned()), lock }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schema_has_a_channel_of_its_own_that_sql_takes_as_it_is() {
        let (one, other) = (Channel::of("public"), Channel::of("Ö \"quoted\" \u{1}"));
        assert_eq!(one.name, Channel::of("public").name);
        assert_ne!((&one.name, one.lock), (&other.name, other.lock));
        for channel in [one, other] {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(channel.name.len() < 64 && channel.name.chars().all(is_plain), "{}", channel.name);
        }
    }
}
