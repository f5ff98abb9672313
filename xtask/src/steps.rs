//! The steps of a run: announced, timed, listed at the end.
//!
//! Not here: what the steps do.

use std::time::Instant;

use crate::failure::Outcome;

/// Names and durations of the steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Name and seconds, in order.
    done: Vec<(&'static str, f64)>,
}

impl Steps {
    /// Carries out one step. The first that fails ends the run, because the caller returns its error.
    ///
    /// # Errors
    /// What `work` returned.
    pub(crate) fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        println!("==> {name}");
        let began = Instant::now();
        let outcome = work();
        let seconds = began.elapsed().as_secs_f64();
        let ended = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("    {name}: {ended}, {seconds:.1} s");
        self.done.push((name, seconds));
        outcome
    }

    /// All steps in one line.
    pub(crate) fn summary(&self) -> String {
        let total: f64 = self.done.iter().map(|(_, seconds)| seconds).sum();
        let each: Vec<String> =
            self.done.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect();
        format!("{} ({total:.1} s in all)", each.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn a_failed_step_hands_its_failure_on_and_is_timed_too() {
        let mut steps = Steps::default();
        assert!(steps.step("first", || Ok(())).is_ok());
        assert!(steps.step("second", || Err::<(), _>(Failure::new("broken"))).is_err());
        let summary = steps.summary();
        assert!(summary.contains("first 0.") && summary.contains("second 0."), "{summary}");
    }
}
