//! How much a store holds, and how it grew. How busy it is stands in [`crate::StoreGauges`].

use std::collections::BTreeMap;

use membrane_core::time::Timestamp;

/// How many days [`Growth::days`] tells of at the most.
const MAX_DAYS: usize = 30;

/// How many months [`Growth::months`] tells of at the most.
const MAX_MONTHS: usize = 24;

/// How much a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Sessions.
    pub sessions: u64,
    /// Turns as sessions show them: one that twenty forks share counts twenty times.
    pub turns_shown: u64,
    /// Turns as they are stored: one that twenty forks share counts once.
    pub turns_stored: u64,
    /// Bytes of what users and models said, in UTF-8, as sessions show it.
    pub text_bytes_shown: u64,
    /// The same as it is stored. It may be more than what is shown: checkpoints keep turns alive, too.
    pub text_bytes_stored: u64,
    /// Histories and the slices in them.
    pub histories: u64,
    /// Slices of all histories.
    pub slices: u64,
    /// Checkpoints, automatic ones too.
    pub checkpoints: u64,
    /// Crystals.
    pub crystals: u64,
    /// Unfinished turns.
    pub runs: u64,
    /// Bytes on disk, with write-ahead log; 0 in memory.
    pub bytes: u64,
    /// Bytes of the write-ahead log, of those.
    pub log_bytes: u64,
    /// Bytes of pages that hold nothing and are used again, of those.
    pub free_bytes: u64,
    /// When sessions were created and turns begun.
    pub growth: Growth,
}

/// What began when, in UTC. What was deleted counts no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Growth {
    /// The newest 30 days that have anything, the newest first.
    pub days: Vec<Begun>,
    /// The months before the oldest of those days, as far as they lie before it: the newest 24 that have anything,
    /// the newest first.
    pub months: Vec<Begun>,
}

/// What began in a day or a month.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Begun {
    /// `2026-11-24`, or `2026-11`.
    pub period: String,
    /// Sessions created.
    pub sessions: u64,
    /// Turns begun, as they are stored.
    pub turns: u64,
}

/// Counts by day, for a backend to fill.
#[derive(Debug, Default)]
pub struct GrowthTally {
    /// Sessions and turns, by the number of days since 1970.
    days: BTreeMap<i64, (u64, u64)>,
}

const DAY_MICROS: i64 = 86_400_000_000;

impl GrowthTally {
    /// Counts a session by when it was created.
    pub fn add_session(&mut self, created_at: Timestamp) {
        self.days.entry(created_at.as_micros().div_euclid(DAY_MICROS)).or_default().0 += 1;
    }

    /// Counts a stored turn by when it began.
    pub fn add_turn(&mut self, started_at: Timestamp) {
        self.days.entry(started_at.as_micros().div_euclid(DAY_MICROS)).or_default().1 += 1;
    }

    /// What was counted, the newest first.
    pub fn finish(self) -> Growth {
        let mut growth = Growth::default();
        for (day, (sessions, turns)) in self.days.into_iter().rev() {
            let mut period = Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).to_string();
            if growth.days.len() < MAX_DAYS {
                period.truncate("2026-11-24".len());
                growth.days.push(Begun { period, sessions, turns });
                continue;
            }
            period.truncate("2026-11".len());
            if let Some(month) = growth.months.last_mut().filter(|month| month.period == period) {
                month.sessions += sessions;
                month.turns += turns;
            } else if growth.months.len() < MAX_MONTHS {
                growth.months.push(Begun { period, sessions, turns });
            } else {
                break;
            }
        }
        growth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn days_that_have_nothing_are_left_out_and_a_day_is_one_of_utc() {
        let mut tally = GrowthTally::default();
        tally.add_session(at("2026-01-02T23:59:59.999999Z"));
        tally.add_turn(at("2026-01-03T01:00:00+02:00"));
        tally.add_turn(at("2026-02-01T00:00:00Z"));
        tally.add_turn(at("1969-12-31T23:59:59.999999Z"));
        let growth = tally.finish();
        let begun = |period: &str, sessions, turns| Begun { period: period.to_owned(), sessions, turns };
        assert_eq!(
            growth.days,
            [begun("2026-02-01", 0, 1), begun("2026-01-02", 1, 1), begun("1969-12-31", 0, 1)]
        );
        assert!(growth.months.is_empty());
    }

    #[test]
    fn what_lies_before_thirty_days_is_told_by_month_for_twenty_four_of_them() {
        let mut tally = GrowthTally::default();
        let newest = at("2026-03-10T12:00:00Z").as_micros();
        for days_ago in 0..1_200_i64 {
            let time = Timestamp::from_micros(newest - days_ago * DAY_MICROS);
            tally.add_session(time);
            tally.add_turn(time);
            tally.add_turn(time);
        }
        let growth = tally.finish();
        assert_eq!((growth.days.len(), growth.months.len()), (30, 24));
        assert_eq!(growth.days[0].period, "2026-03-10");
        assert_eq!(growth.days[29].period, "2026-02-09");
        // The days of February before the ninth.
        assert_eq!(growth.months[0], Begun { period: "2026-02".to_owned(), sessions: 8, turns: 16 });
        assert_eq!(growth.months[1], Begun { period: "2026-01".to_owned(), sessions: 31, turns: 62 });
        assert_eq!(growth.months[23].period, "2024-03");
    }

    #[test]
    fn the_ends_of_time_are_days_too() {
        let mut tally = GrowthTally::default();
        tally.add_session(Timestamp::MIN);
        tally.add_turn(Timestamp::MAX);
        let periods: Vec<_> = tally.finish().days.into_iter().map(|begun| begun.period).collect();
        assert_eq!(periods, ["9999-12-30", "0000-01-01"]);
    }
}
