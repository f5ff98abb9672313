//! The judgement of an image, and the tally of a campaign.
//!
//! Not here: making images and opening them ([`crate::campaign`]).

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use crate::campaign::{Failure, Target};
use crate::entry::Entry;
use crate::image::Ending;
use crate::recording::{Event, Log, Marker};

/// How many single findings a report keeps.
const MAX_FINDINGS: usize = 8;

/// What the application had said up to a point of the log.
#[derive(Debug, Default)]
pub(crate) struct Said {
    position: usize,
    submitted: BTreeSet<Entry>,
    acknowledged: BTreeSet<Entry>,
}

/// What is wrong with one image.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    lost: Vec<Entry>,
    invented: Vec<Entry>,
    torn: Option<String>,
}

impl Said {
    pub(crate) fn advance_to(&mut self, log: &Log, cut: usize) {
        for event in &log.events[self.position..cut] {
            match event {
                Event::Marked(Marker::Submitted(entry)) => self.submitted.insert(*entry),
                Event::Marked(Marker::Acknowledged(entry)) => self.acknowledged.insert(*entry),
                _ => continue,
            };
        }
        self.position = cut;
    }

    /// Holds what an image holds against what was said.
    pub(crate) fn judge(&self, survivors: Result<Vec<Entry>, Failure>) -> Findings {
        let listed = match survivors {
            Ok(listed) => listed,
            Err(failure) => return Findings { torn: Some(with_causes(&*failure)), ..Findings::default() },
        };
        let found: BTreeSet<Entry> = listed.iter().copied().collect();
        let twice = (found.len() < listed.len()).then(|| "an entry is there twice".to_owned());
        Findings {
            lost: self.acknowledged.difference(&found).copied().collect(),
            invented: found.difference(&self.submitted).copied().collect(),
            torn: twice,
        }
    }
}

fn with_causes(failure: &(dyn Error + 'static)) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a campaign found. Its `Display` is the one line that a test prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    target: String,
    synchronous: String,
    seed: u64,
    /// Entries that were acknowledged in the whole recording.
    pub n_acknowledged: usize,
    /// Syncs of files in the whole recording.
    pub n_syncs: usize,
    /// Bytes written in the whole recording.
    pub n_bytes_written: usize,
    /// Points at which the power was cut.
    pub n_cuts: usize,
    /// Images that were opened; one per point and [`Ending`].
    pub n_images: usize,
    /// Images that lacked an acknowledged entry after a power loss.
    pub n_lost: usize,
    /// Images that could not be opened, were not sound, or held half of something or something twice, after a
    /// power loss.
    pub n_torn: usize,
    /// Images with an entry that nobody had submitted.
    pub n_invented: usize,
    /// Images that were wrong in any of these ways after a mere kill of the process.
    pub n_bad_after_kill: usize,
    /// The first findings in words.
    pub findings: Vec<String>,
}

impl Report {
    pub(crate) fn new<T: Target>(target: &T, log: &Log, seed: u64) -> Self {
        let mut said = Said::default();
        said.advance_to(log, log.events.len());
        Self {
            target: target.name().to_owned(),
            synchronous: target.synchronous().to_owned(),
            seed,
            n_acknowledged: said.acknowledged.len(),
            n_syncs: log.n_syncs(),
            n_bytes_written: log.n_bytes_written(),
            n_cuts: 0,
            n_images: 0,
            n_lost: 0,
            n_torn: 0,
            n_invented: 0,
            n_bad_after_kill: 0,
            findings: Vec::new(),
        }
    }

    /// Whether every image held what it had to hold and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.n_lost + self.n_torn + self.n_invented + self.n_bad_after_kill == 0
    }

    /// Counts an image. True if it is the first bad one of the campaign.
    pub(crate) fn enter(&mut self, cut: usize, ending: Ending, findings: &Findings) -> bool {
        let was_clean = self.is_clean();
        self.n_images += 1;
        let is_bad = !findings.lost.is_empty() || !findings.invented.is_empty() || findings.torn.is_some();
        if !is_bad {
            return false;
        }
        if ending == Ending::Killed {
            self.n_bad_after_kill += 1;
        } else {
            self.n_lost += usize::from(!findings.lost.is_empty());
            self.n_torn += usize::from(findings.torn.is_some());
            self.n_invented += usize::from(!findings.invented.is_empty());
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(findings.in_words(cut, ending));
        }
        was_clean
    }
}

impl Findings {
    fn in_words(&self, cut: usize, ending: Ending) -> String {
        let lost = self
            .lost
            .first()
            .map(|first| format!("{} acknowledged and lost, first {first}", self.lost.len()));
        let invented = self
            .invented
            .first()
            .map(|first| format!("{} never submitted, first {first}", self.invented.len()));
        let words: Vec<String> = [lost, invented, self.torn.clone()].into_iter().flatten().collect();
        format!("cut at {cut}, {ending:?}: {}", words.join("; "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "campaign: power_loss target={} synchronous={} cuts={} lost={} torn={} invented={} \
             bad_after_kill={} images={} acked={} syncs={} written_bytes={} seed={}",
            self.target,
            self.synchronous,
            self.n_cuts,
            self.n_lost,
            self.n_torn,
            self.n_invented,
            self.n_bad_after_kill,
            self.n_images,
            self.n_acknowledged,
            self.n_syncs,
            self.n_bytes_written,
            self.seed
        )
    }
}
