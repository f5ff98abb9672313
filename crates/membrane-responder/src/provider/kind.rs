//! Whose models can be asked.

use std::fmt;

use genai::adapter::AdapterKind;
use membrane_core::error::ValueError;

/// A provider of models, or the API that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// OpenAI, and every server that speaks its chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// Ollama, usually on the same machine.
    Ollama,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Ollama];

    /// Their words, for messages.
    pub const WORDS: &'static str = "openai, anthropic, gemini, ollama";

    /// The word for it in settings and in the name of a model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// Reads the word back.
    ///
    /// # Errors
    /// [`ValueError::Unknown`] naming the words that are accepted.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| ValueError::Unknown {
            what: "provider",
            value: text.chars().take(64).collect(),
            allowed: Self::WORDS,
        })
    }

    /// The environment variable in which its key is usually kept; `None` where none is needed.
    pub fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("OPENAI_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Gemini => Some("GEMINI_API_KEY"),
            Self::Ollama => None,
        }
    }

    /// The API that is spoken, whatever the model's name looks like.
    pub(super) fn adapter(self) -> AdapterKind {
        match self {
            Self::OpenAi => AdapterKind::OpenAI,
            Self::Anthropic => AdapterKind::Anthropic,
            Self::Gemini => AdapterKind::Gemini,
            Self::Ollama => AdapterKind::Ollama,
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[test]
fn a_provider_is_read_from_its_word_and_from_no_other() {
    for kind in ProviderKind::ALL {
        assert_eq!(ProviderKind::parse(kind.as_str()), Ok(kind));
    }
    assert_eq!(ProviderKind::ALL.map(ProviderKind::as_str).join(", "), ProviderKind::WORDS);
    let error = ProviderKind::parse("OpenAI").unwrap_err().to_string();
    assert!(error.contains("OpenAI") && error.contains(ProviderKind::WORDS), "{error}");
}
