//! Points in time, to the microsecond, and the clock that is passed in.
//!
//! Stored and sent as RFC 3339 in UTC with six fractional digits and `Z`, so that the order of the
//! texts is the order of the times. Zones and naive local times are the business of importers.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::ValueError;

/// Microseconds since 1970-01-01T00:00:00Z; between the years 0 and 9999, so that the text has a
/// fixed width.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// 9999-12-30T22:00:00Z, the last instant that every zone can show.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// The point `micros` microseconds after the epoch, moved into [`Self::MIN`]..=[`Self::MAX`].
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// This time plus `duration`, at most [`Self::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        let micros = self.as_micros().saturating_sub(earlier.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// This time less `duration`, at least [`Self::MIN`].
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// Reads an RFC 3339 time with a zone; digits beyond the microsecond are cut off.
    ///
    /// # Errors
    /// [`ValueError::NotATime`] when it is none, or lies outside the years 0 to 9999.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let not_a_time = || ValueError::NotATime { value: text.chars().take(64).collect() };
        let time = jiff::Timestamp::from_str(text).map_err(|_| not_a_time())?;
        let micros = time.as_microsecond();
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(not_a_time()) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Civil date from a day count: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let days = self.0.div_euclid(86_400_000_000);
        let micros = self.0.rem_euclid(86_400_000_000);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let seconds = micros / 1_000_000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            micros % 1_000_000
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells the time. Passed in everywhere, so that a simulation can own it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let micros = match std::time::SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp::from_micros(micros)
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { micros: AtomicI64::new(start.as_micros()) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_microseconds_and_z_and_reads_back() {
        for text in [
            "2026-01-02T03:04:05.000006Z",
            "1970-01-01T00:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "2000-02-29T12:00:00.500000Z",
            "0000-03-01T00:00:00.000000Z",
            "9999-12-30T00:00:00.000001Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Timestamp::parse("2026-01-02T05:04:05+02:00").unwrap().to_string(),
            "2026-01-02T03:04:05.000000Z"
        );
        assert!(Timestamp::parse("2026-01-02T03:04:05").is_err(), "a naive time is the importer's business");
    }

    #[test]
    fn order_of_texts_is_order_of_times() {
        let times = [Timestamp::MIN, Timestamp::from_micros(-1), Timestamp::from_micros(0), Timestamp::MAX];
        let texts: Vec<String> = times.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted());
        assert!(texts.iter().all(|text| text.len() == 27));
    }

    #[test]
    fn agrees_with_the_calendar_library_over_the_whole_range() {
        let step = (Timestamp::MAX.as_micros() - Timestamp::MIN.as_micros()) / 20_000;
        for i in 0..20_000 {
            let micros = Timestamp::MIN.as_micros() + i * step + i;
            let ours = Timestamp::from_micros(micros).to_string();
            let theirs = jiff::Timestamp::from_microsecond(micros).unwrap();
            assert_eq!(ours, format!("{theirs:.6}"));
        }
    }
}
