//! A query taken apart as browsers and Python write it: `name=value` pairs, percent and plus signs decoded.
//!
//! What the parameters mean is not here; [`super::Fields`] reads them.

/// The parameters in the order of the query, with values as JSON texts, so that they read like fields.
#[derive(Debug)]
pub(super) struct Parameters(Vec<Parameter>);

#[derive(Debug)]
struct Parameter {
    name: String,
    json: String,
    is_text: bool,
}

impl Parameters {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&decode_form(name)).into_owned();
            let value = decode_form(value);
            let text = String::from_utf8_lossy(&value);
            let is_text = std::str::from_utf8(&value).is_ok();
            Parameter { name, json: serde_json::Value::from(text).to_string(), is_text }
        });
        Self(parameters.collect())
    }

    /// The last value of this name; as an error, what is left of one that is not UTF-8.
    pub(super) fn find(&self, name: &str) -> Option<Result<&str, &str>> {
        let found = self.0.iter().rev().find(|parameter| parameter.name == name)?;
        Some(if found.is_text { Ok(&found.json) } else { Err(&found.json) })
    }
}

/// Undoes percent signs; one that two hex digits do not follow stays as it is.
pub(super) fn decode_percent(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// In a query a plus sign is a space, unless it is written with a percent sign.
fn decode_form(text: &str) -> Vec<u8> {
    decode_percent(&text.replace('+', " "))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_of_a_name_counts() {
        let query = "&&a=1&a=2&b=x%20y+z%2B&c=a=b&d&%65=%f0%9f%99%82%00\"&f=%&g=%zz&h=%4&i=a;b&";
        let parameters = Parameters::parse(query);
        for (name, json) in [
            ("a", r#""2""#),
            ("b", r#""x y z+""#),
            ("c", r#""a=b""#),
            ("d", r#""""#),
            ("e", r#""🙂\u0000\"""#),
            ("f", r#""%""#),
            ("g", r#""%zz""#),
            ("h", r#""%4""#),
            ("i", r#""a;b""#),
        ] {
            assert_eq!(parameters.find(name), Some(Ok(json)), "{name}");
        }
        assert_eq!(parameters.find("j"), None);
        assert_eq!(parameters.find(""), None);
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_told_from_one_that_is() {
        let parameters = Parameters::parse("a=%ff&b=%ef%bf%bd&%ff=1");
        assert_eq!(parameters.find("a"), Some(Err("\"\u{fffd}\"")));
        assert_eq!(parameters.find("b"), Some(Ok("\"\u{fffd}\"")));
    }
}
