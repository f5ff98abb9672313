//! The lines in which tests report what a campaign did, found in whatever the tests printed.
//!
//! Not here: what the lines say. A test prints `campaign: law=… store=… cases=… seed=…`, tidy prints
//! `tidy: …` for what it warns about; both come back at the end of the run.

/// What a line that reports a campaign begins with.
pub(crate) const CAMPAIGN: &str = "campaign: ";
/// What a warning of tidy begins with.
pub(crate) const TIDY: &str = "tidy: ";

/// The lines of `printed` that begin with `mark`. A line may stand behind `test name ... `, which the test
/// harness leaves open when it runs tests one at a time.
pub(crate) fn marked(printed: &str, mark: &str) -> Vec<String> {
    printed
        .lines()
        .filter_map(|line| {
            let at = line.find(mark)?;
            let before = line[..at].trim();
            let ours = before.is_empty() || (before.starts_with("test ") && before.ends_with("..."));
            ours.then(|| line[at..].trim_end().to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_begin_with_the_mark_are_taken() {
        let printed = "\nrunning 1 test\ncampaign: law=a cases=1\ntest x ... campaign: law=b cases=2 \n\
                       expected `campaign: c`\n  campaign: law=d\ntidy: long file\n";
        assert_eq!(
            marked(printed, CAMPAIGN),
            ["campaign: law=a cases=1", "campaign: law=b cases=2", "campaign: law=d"]
        );
        assert_eq!(marked(printed, TIDY), ["tidy: long file"]);
    }
}
