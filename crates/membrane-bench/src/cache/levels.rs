//! The caches that are compared: each before the same store, with what it keeps to itself.

use std::sync::Arc;

use membrane::{Chat, Store};
use membrane_cache::{CacheOptions, CachedStore, SharedOptions};
use membrane_testservers::{Redis, RedisOptions};
use tokio::task::block_in_place;

use crate::Failure;

/// What stands before the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    None,
    Memory,
    /// The same, but the first read of a thread is kept and not only the second.
    MemoryAtOnce,
    Redis,
    Both,
}

/// How much the levels may keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) memory_bytes: u64,
    pub(super) redis_bytes: u64,
    /// Threads of fewer turns are read past the cache.
    pub(super) min_turns: u64,
}

/// A level, ready to be read through. A Redis lives as long.
pub(super) struct Staged {
    pub(super) level: Level,
    pub(super) chat: Chat,
    _redis: Option<Redis>,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "no cache",
            Self::Memory => "memory",
            Self::MemoryAtOnce => "memory, first reads kept",
            Self::Redis => "redis",
            Self::Both => "memory and redis",
        }
    }

    /// Puts it before a store.
    pub(super) async fn stage(self, store: &Arc<dyn Store>, room: Room) -> Result<Staged, Failure> {
        let store = Arc::clone(store);
        if self == Self::None {
            return Ok(Staged { level: self, chat: Chat::create(store), _redis: None });
        }
        let redis = match self {
            Self::Redis | Self::Both => {
                let options = RedisOptions::default().max_memory(room.redis_bytes);
                Some(block_in_place(|| Redis::start_with(&options))?)
            }
            _ => None,
        };
        let options = CacheOptions {
            memory_bytes: if self == Self::Redis { 0 } else { room.memory_bytes },
            shared: redis.as_ref().map(|redis| SharedOptions::at(redis.url())),
            min_turns: room.min_turns,
            keeps_first_read: self == Self::MemoryAtOnce,
            ..CacheOptions::default()
        };
        let cached = CachedStore::new(store, &options).await?;
        Ok(Staged { level: self, chat: Chat::create(Arc::new(cached)), _redis: redis })
    }
}
