//! The cache before the store, as the settings want it.

use std::sync::Arc;

use membrane::Store;
use membrane_cache::{CacheError, CacheOptions, CachedStore, SharedOptions};

use crate::config::{CacheSettings, Database};
use crate::failure::{Exit, Failure};

/// Puts a cache before a store, if one is wanted. What is in memory already needs none.
pub(super) async fn before(
    store: Arc<dyn Store>,
    database: &Database,
    settings: &CacheSettings,
) -> Result<Arc<dyn Store>, Failure> {
    let is_wanted = settings.memory_mib > 0 || settings.url.is_some();
    if !is_wanted || matches!(database, Database::Memory) {
        return Ok(store);
    }
    let cached = CachedStore::new(store, &options(settings)).await.map_err(|error| match error {
        CacheError::Store(error) => error.into(),
        error @ CacheError::Url { .. } => Failure::caused(Exit::Usage, "invalid_argument", &error),
    })?;
    Ok(Arc::new(cached))
}

fn options(settings: &CacheSettings) -> CacheOptions {
    let shared = settings
        .url
        .as_ref()
        .map(|url| SharedOptions { timeout: settings.timeout, ..SharedOptions::at(url.for_driver()) });
    CacheOptions {
        memory_bytes: u64::try_from(settings.memory_mib).unwrap_or(u64::MAX).saturating_mul(1 << 20),
        shared,
        lifetime: settings.lifetime,
        ..CacheOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_settings;

    #[test]
    fn what_is_not_set_is_as_the_cache_has_it() {
        let ours = options(&default_settings().cache);
        assert_eq!(format!("{ours:?}"), format!("{:?}", CacheOptions::default()));
    }
}
