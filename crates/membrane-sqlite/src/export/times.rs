//! Times as kgents writes them: local, without a zone, the fraction left out when it is 0.

use jiff::tz::TimeZone;
use membrane_core::time::Timestamp;

/// The years that kgents can read.
const YEARS: std::ops::RangeInclusive<i16> = 1..=9999;

/// Writes times in one zone, and counts those that need more than a local time.
#[derive(Debug)]
pub(super) struct LocalTimes {
    zone: TimeZone,
    with_offset: u64,
}

impl LocalTimes {
    pub(super) fn in_zone(zone: TimeZone) -> Self {
        Self { zone, with_offset: 0 }
    }

    /// How many times got an offset.
    pub(super) fn with_offset(&self) -> u64 {
        self.with_offset
    }

    /// The local time, from which the zone tells the same instant again. Where it alone would not, because clocks
    /// were set back over it, its offset follows.
    pub(super) fn text(&mut self, time: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_microsecond(time.as_micros()) else {
            // Cannot happen: the range of ours lies within that of the calendar library.
            return time.to_string();
        };
        let offset = self.zone.to_offset(instant);
        let local = offset.to_datetime(instant);
        if !YEARS.contains(&local.year()) {
            return self.utc(instant);
        }
        if !self.zone.to_ambiguous_timestamp(local).is_ambiguous() {
            return plain(local);
        }
        let seconds = offset.seconds();
        if seconds % 60 != 0 {
            // Local mean times have such offsets, and few readers know them.
            return self.utc(instant);
        }
        self.with_offset += 1;
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        format!("{}{sign}{:02}:{:02}", plain(local), minutes / 60, minutes % 60)
    }

    fn utc(&mut self, instant: jiff::Timestamp) -> String {
        self.with_offset += 1;
        format!("{}+00:00", plain(TimeZone::UTC.to_datetime(instant)))
    }
}

fn plain(time: jiff::civil::DateTime) -> String {
    let seconds = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    match time.subsec_nanosecond() / 1000 {
        0 => seconds,
        micros => format!("{seconds}.{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn texts(zone: &TimeZone, times: &[&str]) -> (Vec<String>, u64) {
        let mut local = LocalTimes::in_zone(zone.clone());
        let texts = times.iter().map(|time| local.text(Timestamp::parse(time).unwrap())).collect();
        (texts, local.with_offset())
    }

    /// Reads as whoever knows the zone does.
    fn back(zone: &TimeZone, text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or_else(|_| {
            let local: jiff::civil::DateTime = text.parse().unwrap();
            let instant = zone.to_ambiguous_timestamp(local).unambiguous().unwrap();
            Timestamp::from_micros(instant.as_microsecond())
        })
    }

    #[test]
    fn a_fraction_of_nothing_is_left_out() {
        let (texts, with_offset) =
            texts(&TimeZone::UTC, &["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000006Z"]);
        assert_eq!(texts, ["2026-01-02T03:04:05", "2026-01-02T03:04:05.000006"]);
        assert_eq!(with_offset, 0);
    }

    #[test]
    fn an_hour_that_came_twice_says_which_one() {
        let zone = TimeZone::posix(BERLIN).unwrap();
        let (texts, with_offset) = texts(
            &zone,
            &[
                "2026-10-24T23:59:59.999999Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00.5Z",
                "2026-10-25T02:00:00Z",
                "2026-03-29T01:00:00Z",
            ],
        );
        assert_eq!(
            texts,
            [
                "2026-10-25T01:59:59.999999",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:30:00.500000+01:00",
                "2026-10-25T03:00:00",
                "2026-03-29T03:00:00",
            ]
        );
        assert_eq!(with_offset, 2);
    }

    #[test]
    fn years_that_a_local_time_cannot_name_are_told_in_utc() {
        let zone = TimeZone::posix(BERLIN).unwrap();
        for (time, expected) in [
            (Timestamp::MIN, "0000-01-01T00:00:00+00:00"),
            (Timestamp::MAX, "9999-12-30T23:00:00"),
            (Timestamp::from_micros(-1), "1970-01-01T00:59:59.999999"),
        ] {
            assert_eq!(LocalTimes::in_zone(zone.clone()).text(time), expected);
            assert_eq!(back(&zone, expected), time);
        }
    }

    #[test]
    fn every_quarter_of_an_hour_of_a_year_comes_back_in_zones_that_change_their_clocks() {
        for posix in [BERLIN, "NST3:30NDT,M3.2.0,M11.1.0", "LHST-10:30LHDT-11,M10.1.0,M4.1.0", "UTC0"] {
            let zone = TimeZone::posix(posix).unwrap();
            let mut local = LocalTimes::in_zone(zone.clone());
            let mut time = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
            for _ in 0..4 * 24 * 366 {
                let text = local.text(time);
                assert_eq!(back(&zone, &text), time, "{posix}: {text}");
                time = time.plus(std::time::Duration::from_secs(900));
            }
        }
    }
}
