//! Measures of text: token estimate, code blocks, content hash.
//!
//! Model tokenizers are not here; this is the estimate that existing clients know.

use sha2::{Digest, Sha256};

/// Estimated tokens of one turn: `floor(len(user + "\n" + reply) / 4)`, in code points.
///
/// The formula is that of kgents; a session's `context_size` is the sum over its turns.
pub fn estimate_tokens(user: &str, reply: &str) -> i64 {
    (count_chars(user) + 1 + count_chars(reply)) / 4
}

/// Length in code points.
pub fn count_chars(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Keeps the beginning of a text: whole code points, at most `max_bytes` bytes.
pub fn cut(text: &mut String, max_bytes: usize) {
    let mut len = max_bytes.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    text.truncate(len);
}

/// Pairs of triple backticks: how many fenced code blocks a text holds.
pub fn count_code_blocks(text: &str) -> i64 {
    if !text.as_bytes().contains(&b'`') {
        // Most turns; looking for one byte is several times faster than looking for three.
        return 0;
    }
    i64::try_from(text.matches("```").count() / 2).unwrap_or(i64::MAX)
}

/// Hashes an ordered list of exchanges, as kgents does: SHA-256 in hex of `user + ":" + reply`,
/// joined with `|`, in UTF-8.
///
/// Ambiguous by its form (`("a:b", "c")` equals `("a", "b:c")`), so it serves to compare with old
/// files and never as proof that two sessions are the same; see [`crate::diff::equivalent`].
pub fn content_hash<'a>(turns: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hasher = Sha256::new();
    for (index, (user, reply)) in turns.into_iter().enumerate() {
        if index > 0 {
            hasher.update(b"|");
        }
        hasher.update(user.as_bytes());
        hasher.update(b":");
        hasher.update(reply.as_bytes());
    }
    hex(&hasher.finalize())
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.extend(
            [byte >> 4, byte & 15].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])),
        );
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_quarter_of_the_code_points() {
        assert_eq!(estimate_tokens("", ""), 0);
        assert_eq!(estimate_tokens("abc", ""), 1);
        assert_eq!(estimate_tokens("日本語", "🙂🙂🙂🙂"), 2);
    }

    #[test]
    fn hash_is_that_of_the_known_formula() {
        // printf 'a:b|c:d' | sha256sum
        assert_eq!(
            content_hash([("a", "b"), ("c", "d")]),
            "b9a3dc605f83bf16569fc6dc9f74f69f1ec09cfb9aaa79d5790057618b1159e4".to_owned()
        );
    }

    #[test]
    fn a_text_is_cut_between_code_points() {
        for (max_bytes, kept) in [(0, ""), (1, ""), (2, "ü"), (4, "ü"), (6, "ü🙂"), (99, "ü🙂")] {
            let mut text = "ü🙂".to_owned();
            cut(&mut text, max_bytes);
            assert_eq!(text, kept);
        }
    }

    #[test]
    fn fences_count_in_pairs() {
        assert_eq!(count_code_blocks("```a```"), 1);
        assert_eq!(count_code_blocks("```a"), 0);
    }
}
