//! Reads one key after the other: the flag, else the environment, else the file, else the default. What cannot be
//! accepted is remembered and the default given in its place, so that whoever reads settings need not stop; in the
//! end [`Reader::finish`] fails. Which keys there are is in `keys.rs`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use membrane::ModelChoice;
use membrane::responder::provider::ProviderKind;
use membrane_http::Origins;
use serde_json::{Value as Json, json};

use super::environment::Environment;
use super::expand::expand;
use super::file::File;
use super::load::Flags;
use super::names;
use super::origin::Origin;
use super::yaml::Yaml;
use crate::failure::Failure;

/// What there is to read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) flags: Flags<'a>,
    pub(super) environment: &'a Environment,
    pub(super) file: Option<&'a File>,
}

/// A key that was read: what it is, and what it has.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) key: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// What it may be, in words.
    pub(crate) allowed: String,
    pub(crate) default: Json,
    pub(crate) value: Json,
    pub(crate) origin: Origin,
}

/// A key with its use; what it may be is said by the function that reads it.
pub(super) struct Key(pub(super) &'static str, pub(super) &'static str);

pub(super) struct Reader<'a> {
    sources: Sources<'a>,
    known: Vec<Known>,
    failures: Vec<Failure>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: Sources<'a>) -> Self {
        Self { sources, known: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn number(&mut self, key: Key, default: u64, range: RangeInclusive<u64>) -> u64 {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |value: &Yaml| match value {
            Yaml::Integer(number) => u64::try_from(*number).ok(),
            Yaml::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let within = |value: &Yaml| parse(value).filter(|number| range.contains(number));
        self.read(key, allowed, default, within, |number| json!(number))
    }

    /// A number that counts or measures something in memory.
    pub(super) fn size(&mut self, key: Key, default: usize, range: RangeInclusive<u64>) -> usize {
        let default = u64::try_from(default).unwrap_or(u64::MAX);
        usize::try_from(self.number(key, default, range)).unwrap_or(usize::MAX)
    }

    pub(super) fn small(&mut self, key: Key, default: u32, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.number(key, default.into(), range)).unwrap_or(u32::MAX)
    }

    pub(super) fn millis(&mut self, key: Key, default_ms: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, default_ms, range))
    }

    pub(super) fn address(&mut self, key: Key, default: SocketAddr) -> SocketAddr {
        let allowed = "an IP address with a port, such as 127.0.0.1:8642 or [::1]:8642".to_owned();
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.read(key, allowed, default, parse, |address| json!(address.to_string()))
    }

    /// One of a few words, small or capital.
    pub(super) fn word<T: Copy + PartialEq>(&mut self, key: Key, default: T, words: &[(&str, T)]) -> T {
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) => {
                let same = |(word, _): &&(&str, T)| word.eq_ignore_ascii_case(text.trim());
                words.iter().find(same).map(|(_, meaning)| *meaning)
            }
            _ => None,
        };
        let show =
            |meaning: &T| json!(words.iter().find(|(_, known)| known == meaning).map(|(word, _)| word));
        self.read(key, format!("one of: {}", list.join(", ")), default, parse, show)
    }

    /// None, unless something is given.
    pub(super) fn origins(&mut self, key: Key) -> Origins {
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) => Origins::parse(text).ok(),
            _ => None,
        };
        let allowed = "*, or origins such as http://localhost:3000 with commas between them".to_owned();
        let show = |origins: &Origins| (*origins != Origins::None).then(|| origins.to_string()).into();
        self.read(key, allowed, Origins::None, parse, show)
    }

    /// Models of projects: nothing, unless something is given.
    pub(super) fn models(&mut self, key: Key) -> Vec<(String, ModelChoice)> {
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) => parse_models(text),
            _ => None,
        };
        let allowed = "PROJECT=MODEL or PROJECT=PROVIDER:MODEL, with commas between them".to_owned();
        let show = |models: &Vec<(String, ModelChoice)>| {
            let texts: Vec<String> = models.iter().map(show_model).collect();
            (!texts.is_empty()).then(|| texts.join(",")).into()
        };
        self.read(key, allowed, Vec::new(), parse, show)
    }

    /// Text, or else what the first of these variables of other programs holds that is set.
    pub(super) fn text_or(&mut self, key: Key, variables: &[&'static str]) -> Option<String> {
        let name = key.0;
        let given = self.text(key);
        if given.is_some() {
            return given;
        }
        for variable in variables {
            match self.sources.environment.find(variable) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    if let Some(known) = self.known.iter_mut().rfind(|known| known.key == name) {
                        known.value = json!(text);
                        known.origin = Origin::Environment((*variable).to_owned());
                    }
                    return Some(text.to_owned());
                }
                Err(failure) => self.failures.push(failure),
            }
        }
        None
    }

    pub(super) fn text(&mut self, key: Key) -> Option<String> {
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) if !text.trim().is_empty() => Some(Some(text.clone())),
            _ => None,
        };
        let allowed = "text, in quotes if it looks like a number".to_owned();
        self.read(key, allowed, None, parse, |text| json!(text))
    }

    /// A URL, which may hold a password: whoever reads it says what is wrong without that. Nothing, if it is empty.
    pub(super) fn url<T: Clone + ToString>(
        &mut self,
        key: Key,
        form: &str,
        parse: impl Fn(&str) -> Result<T, Failure>,
    ) -> Option<T> {
        let name = key.0;
        let parse = |value: &Yaml| match value {
            Yaml::Text(text) if text.trim().is_empty() => Ok(None),
            Yaml::Text(text) => parse(text.trim()).map(Some).map_err(|failure| failure.at(name)),
            other => Err(cannot_be(name, other, form)),
        };
        self.read_with(key, form.to_owned(), None, parse, |url| json!(url.as_ref().map(ToString::to_string)))
    }

    /// Says that values which are good by themselves do not go together.
    pub(super) fn refuse(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Where the value of a key that was read came from.
    pub(super) fn origin(&self, key: &str) -> &Origin {
        self.known.iter().find(|known| known.key == key).map_or(&Origin::Default, |known| &known.origin)
    }

    /// The keys that were read; all that there are, so that what else is set is a mistake.
    pub(super) fn finish(self) -> Result<Vec<Known>, Failure> {
        let keys: Vec<String> = self.known.iter().map(|known| known.key.to_owned()).collect();
        if let Some(file) = self.sources.file {
            file.refuse_unknown(&keys)?;
        }
        let variables: Vec<String> = keys.iter().map(|key| names::variable(key)).collect();
        for name in self.sources.environment.names_with(names::PREFIX) {
            if !variables.iter().any(|known| known == name) {
                return Err(names::unknown("variable", name, &variables));
            }
        }
        match self.failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(self.known),
        }
    }

    fn read<T: Clone>(
        &mut self,
        key: Key,
        allowed: String,
        default: T,
        parse: impl Fn(&Yaml) -> Option<T>,
        show: impl Fn(&T) -> Json,
    ) -> T {
        let (name, words) = (key.0, allowed.clone());
        let parse = |value: &Yaml| parse(value).ok_or_else(|| cannot_be(name, value, &words));
        self.read_with(key, allowed, default, parse, show)
    }

    fn read_with<T: Clone>(
        &mut self,
        Key(key, about): Key,
        allowed: String,
        default: T,
        parse: impl Fn(&Yaml) -> Result<T, Failure>,
        show: impl Fn(&T) -> Json,
    ) -> T {
        let read = self.find(key).and_then(|found| match found {
            None => Ok((default.clone(), Origin::Default)),
            Some((given, origin)) => match parse(&given) {
                Ok(value) => Ok((value, origin)),
                Err(failure) => Err(failure.at(&origin.place())),
            },
        });
        let (value, origin) = read.unwrap_or_else(|failure| {
            self.failures.push(failure);
            (default.clone(), Origin::Default)
        });
        let (default, shown) = (show(&default), show(&value));
        self.known.push(Known { key, about, allowed, default, value: shown, origin });
        value
    }

    /// What is given for a key in the first place that gives anything; the others are not looked at.
    fn find(&self, key: &str) -> Result<Option<(Yaml, Origin)>, Failure> {
        let Sources { flags, environment, file } = self.sources;
        if let Some((flag, text)) = flags.find(key) {
            return Ok(Some((Yaml::Text(text.to_owned()), Origin::Flag(flag))));
        }
        let variable = names::variable(key);
        if let Some(text) = environment.find(&variable)? {
            return Ok(Some((Yaml::Text(text.to_owned()), Origin::Environment(variable))));
        }
        match file {
            Some(file) => find_expanded(file, key, environment),
            None => Ok(None),
        }
    }
}

/// `research=gpt-5,legal=anthropic:claude-5`: the provider stands before the first colon if it is one.
fn parse_models(text: &str) -> Option<Vec<(String, ModelChoice)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let model = |entry: &str| {
        let (project, model) = entry.split_once('=')?;
        let (project, model) = (project.trim(), model.trim());
        let split = model.split_once(':').filter(|(provider, _)| ProviderKind::parse(provider).is_ok());
        let choice = match split {
            Some((provider, name)) => {
                ModelChoice { provider: Some(provider.to_owned()), name: Some(name.to_owned()) }
            }
            None => ModelChoice { provider: None, name: Some(model.to_owned()) },
        };
        let has_name = choice.name.as_ref().is_some_and(|name| !name.is_empty());
        (has_name && !project.is_empty()).then(|| (project.to_owned(), choice))
    };
    entries.map(model).collect()
}

fn show_model((project, choice): &(String, ModelChoice)) -> String {
    let name = choice.name.as_deref().unwrap_or_default();
    match &choice.provider {
        Some(provider) => format!("{project}={provider}:{name}"),
        None => format!("{project}={name}"),
    }
}

/// A value of the file, with the environment's values in it.
pub(super) fn find_expanded(
    file: &File,
    key: &str,
    environment: &Environment,
) -> Result<Option<(Yaml, Origin)>, Failure> {
    let Some((value, origin)) = file.find(key)? else { return Ok(None) };
    let value = match value {
        Yaml::Text(text) => expand(text, environment)
            .map(Yaml::Text)
            .map_err(|failure| failure.at(key).at(&origin.place()))?,
        other => other.clone(),
    };
    Ok(Some((value, origin)))
}

/// The refusal of a value; a secret is not repeated in it.
pub(super) fn cannot_be(key: &str, given: &Yaml, allowed: &str) -> Failure {
    let shown = if names::is_secret(key) { "what it is".to_owned() } else { given.shown() };
    Failure::usage(format!("{key} cannot be {shown}; give {allowed}"))
}
