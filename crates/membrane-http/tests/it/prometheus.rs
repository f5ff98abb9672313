//! A strict reader of Prometheus' text format: what it takes, a real scraper takes as well.

use std::collections::{BTreeMap, BTreeSet};

/// A label's name and value.
type Labels = BTreeMap<String, String>;

/// What was scraped.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// The kind of each family.
    pub(crate) kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

impl Metrics {
    /// Reads a whole scrape, and checks it.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'), "the last line has an end");
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                let before = metrics.helps.insert(name.to_owned(), help.to_owned());
                assert_eq!(before, None, "{name} is explained twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let is_late = metrics.samples.iter().any(|sample| family(&sample.name, kind) == name);
                assert!(!is_late, "the kind of {name} comes after its samples");
                let before = metrics.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} has two kinds");
            } else {
                assert!(!line.starts_with('#'), "an unknown comment: {line}");
                metrics.samples.push(sample(line));
            }
        }
        metrics.check_families();
        metrics.check_histograms();
        metrics
    }

    /// The value of a sample with at least these labels; the sum if there are several.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        self.samples.iter().filter(has).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// The same, 0 if there is none.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or(0.0)
    }

    /// All values of one label of one family.
    pub(crate) fn label_values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// What is explained of a family.
    pub(crate) fn help(&self, name: &str) -> Option<&str> {
        self.helps.get(name).map(String::as_str)
    }

    /// Each sample belongs to a family of a known kind, no sample stands twice, families stand together.
    #[track_caller]
    fn check_families(&self) {
        let mut seen = BTreeSet::new();
        let mut closed = BTreeSet::new();
        let mut last = String::new();
        for sample in &self.samples {
            let name = self.family_of(&sample.name);
            if name != last {
                assert!(closed.insert(name.clone()), "the samples of {name} stand apart");
                last = name;
            }
            assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} stands twice");
            assert!(!sample.value.is_nan(), "{sample:?}");
        }
    }

    #[track_caller]
    fn family_of(&self, sample: &str) -> String {
        let found = self.kinds.iter().find(|(name, kind)| family(sample, kind) == name.as_str());
        found.unwrap_or_else(|| panic!("{sample} has no kind")).0.clone()
    }

    /// Buckets count upwards to `+Inf`, which is the count.
    #[track_caller]
    fn check_histograms(&self) {
        for name in self.kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            let bucket_name = format!("{name}_bucket");
            for sample in self.samples.iter().filter(|sample| sample.name == bucket_name) {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                buckets.entry(labels).or_default().push((bound, sample.value));
            }
            for (labels, buckets) in &buckets {
                let is_upwards =
                    buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
                assert!(is_upwards, "{name}{labels:?}: {buckets:?}");
                let exactly = |sample: &str| {
                    let found = |known: &&Sample| known.name == sample && known.labels == *labels;
                    self.samples.iter().find(found).unwrap_or_else(|| panic!("{sample}{labels:?}")).value
                };
                let (bound, in_all) = *buckets.last().unwrap();
                assert!(bound.is_infinite(), "{name}{labels:?} has no bucket for all");
                assert!((in_all - exactly(&format!("{name}_count"))).abs() < 0.5, "{name}{labels:?}");
                assert!(exactly(&format!("{name}_sum")) >= 0.0);
            }
        }
    }
}

/// The family of a sample, if it is of this kind.
fn family<'a>(sample: &'a str, kind: &str) -> &'a str {
    if kind != "histogram" {
        return sample;
    }
    ["_bucket", "_count", "_sum"].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or("")
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        None => (series, Labels::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("the labels end"))),
    };
    assert!(is_name(name), "{line}");
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap() }
}

/// `name="value"` pairs, in which quotes, backslashes and line breaks are escaped.
#[track_caller]
fn labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label has a value");
        assert!(is_name(name), "{text}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    other => panic!("{other:?} is no escape"),
                },
                (_, plain) => value.push(plain),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), value), None, "{name} stands twice");
        rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
    }
    labels
}
