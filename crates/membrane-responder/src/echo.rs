//! The echo: answers with the user's own words, in pieces, as kgents' stub does.

use std::time::Duration;

use futures_util::stream;

use crate::responder::{Prompt, Reply, ReplyPart, Responder};

/// How the echo speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoOptions {
    /// How long it waits before each piece; 0 by default.
    pub delay: Duration,
    /// How many characters a piece has, at least 1; 16 by default.
    pub piece_chars: usize,
}

impl Default for EchoOptions {
    fn default() -> Self {
        Self { delay: Duration::ZERO, piece_chars: 16 }
    }
}

/// Answers with the user's own words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo {
    options: EchoOptions,
}

impl Echo {
    /// An echo that speaks like this.
    pub fn new(options: EchoOptions) -> Self {
        Self { options }
    }

    /// The whole answer to a message.
    pub fn text(message: &str) -> String {
        format!(
            "Echo: {message}\n\nThis is a simulated response. Session is now persistent and survives restarts!"
        )
    }
}

impl Responder for Echo {
    fn model(&self) -> Option<String> {
        Some("echo".to_owned())
    }

    fn reads_history(&self) -> bool {
        false
    }

    fn respond(&self, prompt: Prompt) -> Reply {
        let EchoOptions { delay, piece_chars } = self.options;
        let text = Self::text(&prompt.message.content);
        Box::pin(stream::unfold((text, 0), move |(text, start)| async move {
            let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
            let len = rest.char_indices().nth(piece_chars.max(1)).map_or(rest.len(), |(index, _)| index);
            let piece = rest.get(..len).unwrap_or(rest).to_owned();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Some((Ok(ReplyPart::Text(piece)), (text, start + len)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use membrane_core::turn::Message;

    use super::*;

    async fn pieces(options: EchoOptions, message: &str) -> Vec<String> {
        let prompt = Prompt::new(Message::new(message));
        let parts: Vec<_> = Echo::new(options).respond(prompt).collect().await;
        let text = |part| match part {
            Ok(ReplyPart::Text(text)) => text,
            other => panic!("the echo said {other:?}"),
        };
        parts.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn the_pieces_together_are_the_guides_text() {
        for message in ["hi", "", "日本語 🙂\0", "a\nb"] {
            for piece_chars in [1, 7, 16, 10_000] {
                let said = pieces(EchoOptions { piece_chars, ..EchoOptions::default() }, message).await;
                assert_eq!(said.concat(), Echo::text(message));
                let (last, others) = said.split_last().unwrap();
                assert!(others.iter().all(|piece| piece.chars().count() == piece_chars), "{said:?}");
                assert!(!last.is_empty() && last.chars().count() <= piece_chars);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_echo_waits_before_each_piece() {
        let options = EchoOptions { delay: Duration::from_millis(40), piece_chars: 20 };
        let start = tokio::time::Instant::now();
        let said = pieces(options, "slowly").await;
        assert_eq!(start.elapsed(), Duration::from_millis(40) * u32::try_from(said.len()).unwrap());
    }
}
