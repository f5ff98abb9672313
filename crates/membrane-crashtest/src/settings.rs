//! How long campaigns run and with which seed, as the test command asks through the environment.
//!
//! Not here: settings of the product.

use thiserror::Error;

/// Cuts of a full campaign.
pub const FULL_CUTS: usize = 1_000;
/// Cuts of the slice that runs with every test run.
pub const SLICE_CUTS: usize = 100;
/// The seed when none is asked for.
pub const DEFAULT_SEED: u64 = 20_261_124;

/// A variable of the environment that cannot be understood.
#[derive(Debug, Error)]
#[error("{name}={value:?} cannot be used; set it to {remedy}, or unset it")]
pub struct SettingsError {
    name: &'static str,
    value: String,
    remedy: &'static str,
}

/// What the test command asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Feeds every choice of a campaign.
    pub seed: u64,
    /// Whether campaigns run to their end.
    pub is_full: bool,
    /// How many points of a recording the power is cut at.
    pub n_cuts: usize,
}

impl Settings {
    /// Reads `MEMBRANE_TEST_FULL` (`1` for the full campaign, `0` or unset for the slice) and
    /// `MEMBRANE_TEST_SEED` (a decimal number, 0..=2^64-1).
    ///
    /// # Errors
    /// A variable is set to anything else: a campaign that runs short because of a typing error would look
    /// like one that passed.
    pub fn from_environment() -> Result<Self, SettingsError> {
        Self::parse(variable("MEMBRANE_TEST_FULL").as_deref(), variable("MEMBRANE_TEST_SEED").as_deref())
    }

    fn parse(full: Option<&str>, seed: Option<&str>) -> Result<Self, SettingsError> {
        let is_full = match full {
            None | Some("" | "0") => false,
            Some("1") => true,
            Some(value) => {
                return Err(SettingsError {
                    name: "MEMBRANE_TEST_FULL",
                    value: value.to_owned(),
                    remedy: "1 or 0",
                });
            }
        };
        let seed = match seed {
            None => DEFAULT_SEED,
            Some(value) => value.parse().map_err(|_| SettingsError {
                name: "MEMBRANE_TEST_SEED",
                value: value.to_owned(),
                remedy: "a decimal number below 2^64",
            })?,
        };
        let n_cuts = if is_full { FULL_CUTS } else { SLICE_CUTS };
        Ok(Self { seed, is_full, n_cuts })
    }
}

/// A variable of the environment; bytes that are not text are shown as such and then refused by the parser.
#[expect(
    clippy::disallowed_methods,
    reason = "the test command speaks to test programs through the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(full: Option<&str>, seed: Option<&str>) -> Result<Settings, String> {
        Settings::parse(full, seed).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_environment_asks_for_the_slice_with_the_fixed_seed() {
        assert_eq!(
            parse(None, None),
            Ok(Settings { seed: DEFAULT_SEED, is_full: false, n_cuts: SLICE_CUTS })
        );
    }

    #[test]
    fn the_full_campaign_and_a_seed_are_taken_from_the_environment() {
        assert_eq!(parse(Some("1"), Some("7")), Ok(Settings { seed: 7, is_full: true, n_cuts: FULL_CUTS }));
    }

    #[test]
    fn a_value_that_cannot_be_understood_is_refused_by_name() {
        assert_eq!(
            parse(Some("yes"), None),
            Err("MEMBRANE_TEST_FULL=\"yes\" cannot be used; set it to 1 or 0, or unset it".to_owned())
        );
        assert!(parse(None, Some("-1")).is_err_and(|message| message.contains("MEMBRANE_TEST_SEED=\"-1\"")));
    }
}
