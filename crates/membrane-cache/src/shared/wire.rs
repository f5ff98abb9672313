//! What a page looks like in the shared cache.
//!
//! Numbers are little-endian, texts have their length before them. A value begins with its form and a hash of the rest,
//! which names its keep and its page: what is cut off, mixed up or another's is not read.

use std::sync::Arc;

use membrane_core::history::TurnRef;
use membrane_core::ids::TurnId;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Message, Totals, Turn, TurnStatus};
use membrane_store::located::page_of;
use membrane_store::{StoredTurn, codec};
use xxhash_rust::xxh3::xxh3_64;

use crate::page::{Page, PageKey};

/// The form; another one is not read.
const FORM: &[u8; 8] = b"mbpage\x00\x01";

/// Where what the hash is of begins.
const HEAD: usize = FORM.len() + 8;

/// A page as a value; `None` if it holds what has no text, such as an infinite duration.
pub(crate) fn encode(page: &Page, keep: &str, key: PageKey) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(page.bytes() + keep.len() + HEAD);
    out.extend_from_slice(FORM);
    out.extend_from_slice(&[0; 8]);
    put_text(&mut out, keep)?;
    put_int(&mut out, key.segment.0);
    put_int(&mut out, key.number);
    for stored in page.turns() {
        put_turn(&mut out, stored)?;
    }
    let hash = xxh3_64(out.get(HEAD..)?);
    out.get_mut(FORM.len()..HEAD)?.copy_from_slice(&hash.to_le_bytes());
    Some(out)
}

/// The page that a value holds; `None` if it is not one, or not this one of this keep.
pub(crate) fn decode(value: &[u8], keep: &str, key: PageKey) -> Option<Page> {
    let rest = value.strip_prefix(FORM)?;
    let (hash, rest) = rest.split_first_chunk()?;
    if u64::from_le_bytes(*hash) != xxh3_64(rest) {
        return None;
    }
    let mut rest = Reader(rest);
    if rest.text()? != keep || rest.int()? != key.segment.0 || rest.int()? != key.number {
        return None;
    }
    let mut turns: Vec<Arc<StoredTurn>> = Vec::new();
    while !rest.0.is_empty() {
        let stored = rest.turn(key)?;
        let last = turns.last().map_or(i64::MIN, |last| last.at.position);
        if stored.at.position <= last || page_of(stored.at.position) != key.number {
            return None;
        }
        turns.push(Arc::new(stored));
    }
    Some(Page::new(turns))
}

fn put_int(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

fn put_maybe_text(out: &mut Vec<u8>, text: Option<&str>) -> Option<()> {
    out.push(u8::from(text.is_some()));
    text.map_or(Some(()), |text| put_text(out, text))
}

fn put_turn(out: &mut Vec<u8>, stored: &StoredTurn) -> Option<()> {
    let StoredTurn { at, order_at, sums, turn } = stored;
    let rare = codec::encode_turn(turn).ok()?;
    let times = [*order_at, turn.started_at, turn.completed_at].map(Timestamp::as_micros);
    let Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks } = *sums;
    let sums = [succeeded, failed, tool_calls, tokens, chars, code_blocks];
    [at.position].into_iter().chain(times).chain(sums).for_each(|number| put_int(out, number));
    out.push(u8::from(turn.is_legacy));
    let words = [turn.status.as_str(), turn.user.linearity.as_str(), turn.assistant.linearity.as_str()];
    let texts = [turn.id.as_str(), &turn.user.content, &turn.assistant.content];
    words.into_iter().chain(texts).try_for_each(|text| put_text(out, text))?;
    put_maybe_text(out, rare.tools_json.as_deref())?;
    put_maybe_text(out, rare.extra_json.as_deref())
}

/// What is left of a value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn int(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.bytes()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(u32::from_le_bytes(self.bytes()?)).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.int().map(Timestamp::from_micros)
    }

    fn turn(&mut self, key: PageKey) -> Option<StoredTurn> {
        let at = TurnRef { segment: key.segment, position: self.int()? };
        let (order_at, started_at, completed_at) = (self.time()?, self.time()?, self.time()?);
        let sums = Totals {
            succeeded: self.int()?,
            failed: self.int()?,
            tool_calls: self.int()?,
            tokens: self.int()?,
            chars: self.int()?,
            code_blocks: self.int()?,
        };
        let is_legacy = self.flag()?;
        let status = TurnStatus::parse(self.text()?).ok()?;
        let linearities = [Linearity::parse(self.text()?).ok()?, Linearity::parse(self.text()?).ok()?];
        let id = TurnId::from_stored(self.text()?);
        let [user, assistant] = [self.text()?, self.text()?];
        let message = |content: &str, linearity| Message { linearity, ..Message::new(content) };
        let mut turn = Turn {
            status,
            user: message(user, linearities[0]),
            assistant: message(assistant, linearities[1]),
            is_legacy,
            completed_at,
            ..Turn::plain(id, "", "", started_at)
        };
        let tools = if self.flag()? { Some(self.text()?) } else { None };
        let extra = if self.flag()? { Some(self.text()?) } else { None };
        if tools.is_some() || extra.is_some() {
            codec::decode_turn(&mut turn, tools, extra).ok()?;
        }
        Some(StoredTurn { at, order_at, sums, turn })
    }
}

#[cfg(test)]
mod tests {
    use membrane_core::ids::SegmentId;
    use membrane_core::json::Json;
    use membrane_core::tool::ToolUse;
    use membrane_core::turn::{Item, TurnError};

    use super::*;
    use crate::page::tests::stored;

    const KEY: PageKey = PageKey { segment: SegmentId(7), number: 1 };

    fn full_page() -> Page {
        let mut rich = StoredTurn::clone(&stored(70, "rich \u{0} ü"));
        rich.turn.status = TurnStatus::Failed;
        rich.turn.user.linearity = Linearity::Required;
        rich.turn.error = Some(TurnError { code: "e".to_owned(), message: "m".to_owned() });
        rich.turn.usage = Some(Json::parse("usage", r#"{"tokens": 1.50}"#).unwrap());
        rich.turn.items = vec![
            Item::Reasoning("hm".to_owned()),
            Item::Tool(ToolUse {
                output: Json::empty_object(),
                success: false,
                duration_ms: 1.5,
                ..ToolUse::new("c", "t", Json::null())
            }),
        ];
        let mut old = StoredTurn::clone(&stored(127, "old"));
        old.turn.is_legacy = true;
        Page::new([stored(64, "a"), Arc::new(rich), Arc::new(old)])
    }

    #[test]
    fn a_page_comes_back_as_it_was() {
        for page in [full_page(), Page::default()] {
            let value = encode(&page, "keep", KEY).unwrap();
            assert_eq!(decode(&value, "keep", KEY), Some(page));
        }
    }

    #[test]
    fn anothers_page_is_not_read() {
        let value = encode(&full_page(), "keep", KEY).unwrap();
        assert_eq!(decode(&value, "other", KEY), None);
        assert_eq!(decode(&value, "keep", PageKey { number: 2, ..KEY }), None);
        assert_eq!(decode(&value, "keep", PageKey { segment: SegmentId(8), ..KEY }), None);
    }

    #[test]
    fn no_value_that_is_damaged_anywhere_is_read_or_is_a_panic() {
        let value = encode(&full_page(), "keep", KEY).unwrap();
        for len in 0..value.len() {
            assert_eq!(decode(&value[..len], "keep", KEY), None, "cut off at {len}");
            let mut damaged = value.clone();
            damaged[len] ^= 0x41;
            assert_eq!(decode(&damaged, "keep", KEY), None, "byte {len}");
            // Even if somebody makes the hash fit, it is a page or it is none.
            let hash = xxh3_64(&damaged[HEAD..]).to_le_bytes();
            damaged[FORM.len()..HEAD].copy_from_slice(&hash);
            drop(decode(&damaged, "keep", KEY));
        }
    }

    #[test]
    fn turns_out_of_order_or_of_other_pages_are_no_page() {
        for turns in [vec![stored(65, "b"), stored(64, "a")], vec![stored(3, "c")]] {
            let mut out = encode(&Page::default(), "keep", KEY).unwrap();
            for stored in &turns {
                put_turn(&mut out, stored).unwrap();
            }
            let hash = xxh3_64(&out[HEAD..]).to_le_bytes();
            out[FORM.len()..HEAD].copy_from_slice(&hash);
            assert_eq!(decode(&out, "keep", KEY), None);
        }
    }

    #[test]
    fn what_has_no_text_is_not_put() {
        let mut odd = StoredTurn::clone(&stored(64, "a"));
        odd.turn
            .items
            .push(Item::Tool(ToolUse { duration_ms: f64::INFINITY, ..ToolUse::new("", "", Json::null()) }));
        assert_eq!(encode(&Page::new([Arc::new(odd)]), "keep", KEY), None);
    }
}
