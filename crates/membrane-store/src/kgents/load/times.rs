//! Times as old files write them: mostly without a zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use membrane_core::time::Timestamp;

/// What an old time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldTime {
    /// This instant.
    Exact(Timestamp),
    /// A local time that came twice or never, since the clocks were changed; read as the earlier one, or as if they
    /// had not been.
    Ambiguous(Timestamp),
    /// No time.
    Bad,
}

/// Reads `YYYY-MM-DD[T ]HH:MM[:SS[.ffffff]]` with a zone, or without one as local time in `zone`. A date alone is
/// its midnight.
pub(super) fn read(text: &str, zone: &TimeZone) -> OldTime {
    let text = text.trim();
    if let Ok(at) = Timestamp::parse(text) {
        return OldTime::Exact(at);
    }
    let Ok(civil) = text.parse::<DateTime>() else { return OldTime::Bad };
    // Anything after the date and time would have been ignored: a zone's name in brackets.
    if text.contains(['[', 'Z', 'z']) {
        return OldTime::Bad;
    }
    let local = zone.to_ambiguous_timestamp(civil);
    let is_ambiguous = local.is_ambiguous();
    let Ok(instant) = local.compatible() else { return OldTime::Bad };
    let micros = instant.as_microsecond();
    if !(Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros()).contains(&micros) {
        return OldTime::Bad;
    }
    let at = Timestamp::from_micros(micros);
    if is_ambiguous { OldTime::Ambiguous(at) } else { OldTime::Exact(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::offset;

    fn text(old: &str, zone: &TimeZone) -> String {
        match read(old, zone) {
            OldTime::Exact(at) => at.to_string(),
            OldTime::Ambiguous(at) => format!("about {at}"),
            OldTime::Bad => "bad".to_owned(),
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        let zone = TimeZone::fixed(offset(2));
        for (old, expected) in [
            ("2025-12-24T10:11:12.000345", "2025-12-24T08:11:12.000345Z"),
            ("2025-12-24T10:11:12", "2025-12-24T08:11:12.000000Z"),
            ("2025-12-24 10:11:12.5", "2025-12-24T08:11:12.500000Z"),
            (" 2025-12-24T10:11 ", "2025-12-24T08:11:00.000000Z"),
            ("2025-12-24", "2025-12-23T22:00:00.000000Z"),
            ("2025-12-24T10:11:12Z", "2025-12-24T10:11:12.000000Z"),
            ("2025-12-24 10:11:12+00:00", "2025-12-24T10:11:12.000000Z"),
            ("2025-12-24T10:11:12.123456789-05:30", "2025-12-24T15:41:12.123456Z"),
        ] {
            assert_eq!(text(old, &zone), expected, "{old}");
        }
    }

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        for old in ["", "now", "1766570000", "2025-13-01T00:00:00", "2025-12-24T25:00:00", "24.12.2025", "\0"]
        {
            assert_eq!(read(old, &TimeZone::UTC), OldTime::Bad, "{old}");
        }
    }

    #[test]
    fn an_hour_that_came_twice_or_never_is_noticed() {
        // The rule of central Europe, which needs no database of zones.
        let Ok(zone) = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3") else { panic!("a valid rule") };
        assert_eq!(text("2025-10-26T02:30:00", &zone), "about 2025-10-26T00:30:00.000000Z");
        assert_eq!(text("2025-03-30T02:30:00", &zone), "about 2025-03-30T01:30:00.000000Z");
        assert_eq!(text("2025-10-26T03:30:00", &zone), "2025-10-26T02:30:00.000000Z");
    }
}
