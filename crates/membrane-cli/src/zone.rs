//! The zone of old times that name none.

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

use crate::failure::Failure;

/// The zone of this name; without one the system's, which is UTC where nothing says otherwise.
pub(crate) fn naive(name: Option<&str>) -> Result<TimeZone, Failure> {
    match name {
        Some(name) => DateTimeParser::new().parse_time_zone(name).map_err(|error| {
            Failure::usage(format!(
                "--naive-timezone: {name:?} is no time zone ({error}); \
                 give a name like Europe/Berlin, UTC, or an offset like +02:00"
            ))
        }),
        None => Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
    }
}

/// The zone as a user would name it.
pub(crate) fn name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => {
            zone.to_fixed_offset().map_or_else(|_| "the system's".to_owned(), |offset| offset.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_are_zones() {
        for (given, shown) in
            [("Europe/Berlin", "Europe/Berlin"), ("UTC", "UTC"), ("+02:00", "+02"), ("-0330", "-03:30")]
        {
            assert_eq!(name(&naive(Some(given)).unwrap()), shown);
        }
        for given in ["", "Europe/Nowhere", "+99:00", "soon"] {
            let error = naive(Some(given)).unwrap_err().to_string();
            assert!(error.contains("--naive-timezone") && error.contains("Europe/Berlin"), "{error}");
        }
    }
}
