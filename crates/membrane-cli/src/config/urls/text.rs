//! Percent-encoding, read strictly: a `%` that encodes nothing was probably meant as itself, and is refused.

/// Why a text is not properly encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadText {
    /// A `%` without two hexadecimal digits.
    Percent,
    /// What was encoded is not UTF-8.
    Utf8,
    /// Neither PostgreSQL nor a cache takes a NUL in a name.
    Nul,
}

impl BadText {
    /// What to do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Percent => "a % is followed by two hexadecimal digits; write % itself as %25",
            Self::Utf8 => "what is encoded with % is not UTF-8; encode the bytes of UTF-8",
            Self::Nul => "%00 may stand in none; leave it out",
        }
    }
}

/// The text without its percent-encoding. A `+` is a plus sign, as to PostgreSQL's own tools.
pub(super) fn decode(text: &str) -> Result<String, BadText> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(BadText::Percent) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(BadText::Percent) };
        bytes.push(high << 4 | low);
        rest = after;
    }
    if bytes.contains(&0) {
        return Err(BadText::Nul);
    }
    String::from_utf8(bytes).map_err(|_| BadText::Utf8)
}

/// The text so that it can stand anywhere in a URL.
pub(super) fn encode(text: &str) -> String {
    encode_where(text, |char| !(char.is_ascii_alphanumeric() || "-._~".contains(char)))
}

/// A value that goes into a URL between others, where it is to stand for itself: what would end it is encoded, and a
/// `%` that encodes nothing, too. What is encoded already stays so.
pub(in crate::config) fn encode_reserved(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        let digits = text.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        let encodes = digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit);
        marked.push(char);
        if char == '%' && !encodes {
            marked.push_str("25");
        }
    }
    encode_where(&marked, |char| ":/?#[]@&=,".contains(char))
}

fn encode_where(text: &str, is_encoded: impl Fn(char) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    let mut buffer = [0; 4];
    for char in text.chars() {
        if is_encoded(char) {
            encoded.extend(char.encode_utf8(&mut buffer).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            encoded.push(char);
        }
    }
    encoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_as_it_was() {
        for text in ["", "plain", "p@s/s:w?r#d&=%+ []", "ü€😀", "100%41", "a\nb"] {
            let encoded = encode(text);
            assert!(encoded.is_ascii() && !encoded.contains(['@', '/', ':', '?', ' ', '&']), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Ok(text), "{encoded}");
        }
        assert_eq!(decode("a+b%2Bc%c3%BC").as_deref(), Ok("a+b+cü"));
    }

    #[test]
    fn what_is_badly_encoded_is_refused() {
        for (text, problem) in [
            ("%", BadText::Percent),
            ("a%4", BadText::Percent),
            ("%zz", BadText::Percent),
            ("%+1", BadText::Percent),
            ("%ff", BadText::Utf8),
            ("a%00", BadText::Nul),
        ] {
            assert_eq!(decode(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_value_in_a_url_stands_for_itself_or_for_what_it_encodes() {
        for (value, meaning) in [
            ("plain", "plain"),
            ("p@ss:w/rd?#[]&=,", "p@ss:w/rd?#[]&=,"),
            ("100%", "100%"),
            ("5%z%4", "5%z%4"),
            ("p%40ss", "p@ss"),
            ("ü %", "ü %"),
        ] {
            let encoded = encode_reserved(value);
            assert!(!encoded.contains(['@', '/', ':', '?', '&', '=']), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Ok(meaning), "{encoded}");
        }
    }
}
