//! What the disk can do: the rate of synced appends, which bounds any durable store.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::measure::{median, per_second};

/// Appends of 4 KiB, each followed by fdatasync, per second: the median of three rounds of half a second.
pub(crate) fn syncs_per_second(folder: &Path) -> Result<f64, Failure> {
    let block = [7_u8; 4096];
    let mut rates = Vec::new();
    for round in 0..3 {
        let mut file = std::fs::File::create(folder.join(format!("sync-{round}")))?;
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < Duration::from_millis(500) {
            file.write_all(&block)?;
            file.sync_data()?;
            count += 1;
        }
        rates.push(per_second(count, start.elapsed()));
    }
    Ok(median(rates))
}
