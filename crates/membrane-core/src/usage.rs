//! What an answer cost: token counts in the terms of OpenAI's API (`prompt_tokens`, `completion_tokens`,
//! `total_tokens` and their details), as a JSON object that may hold more.

use serde_json::Value;

use crate::json::Json;

/// The counts of two parts of a turn together: numbers of the same name are added up, at every depth, and of anything
/// else the later one stays.
pub fn add(earlier: Option<Json>, later: Option<Json>) -> Option<Json> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => {
            let values = (serde_json::from_str(earlier.as_str()), serde_json::from_str(later.as_str()));
            // What is too odd to be read is not added up.
            let (Ok(sum), Ok(more)) = values else { return Some(later) };
            Some(Json::from_value(&add_values(sum, more)))
        }
        (earlier, later) => later.or(earlier),
    }
}

fn add_values(earlier: Value, later: Value) -> Value {
    match (earlier, later) {
        (Value::Object(mut sum), Value::Object(more)) => {
            for (name, later) in more {
                match sum.get_mut(&name) {
                    Some(earlier) => *earlier = add_values(earlier.take(), later),
                    None => _ = sum.insert(name, later),
                }
            }
            Value::Object(sum)
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) => a.saturating_add(b).into(),
            _ => (a.as_f64().unwrap_or(0.0) + b.as_f64().unwrap_or(0.0)).into(),
        },
        (earlier, Value::Null) => earlier,
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(earlier: &str, later: &str) -> String {
        let json = |text| Some(Json::parse("usage", text).unwrap());
        add(json(earlier), json(later)).unwrap().to_string()
    }

    #[test]
    fn numbers_of_the_same_name_are_added_up_at_every_depth() {
        assert_eq!(
            sum(
                r#"{"prompt_tokens":3,"details":{"cached":1,"tier":"a"},"x":null}"#,
                r#"{"prompt_tokens":4,"details":{"cached":2,"tier":"b"},"total":9}"#
            ),
            r#"{"prompt_tokens":7,"details":{"cached":3,"tier":"b"},"x":null,"total":9}"#
        );
        assert_eq!(sum(r#"{"a":1.5}"#, r#"{"a":2}"#), r#"{"a":3.5}"#);
        assert_eq!(sum(r#"{"a":18446744073709551615}"#, r#"{"a":2}"#), r#"{"a":18446744073709551615}"#);
        assert_eq!(sum("[1]", r#"{"a":2}"#), r#"{"a":2}"#);
    }

    #[test]
    fn one_part_alone_stays_as_it_is() {
        let odd = Json::parse("usage", r#"{"a": 1.50}"#).unwrap();
        assert_eq!(add(Some(odd.clone()), None), Some(odd.clone()));
        assert_eq!(add(None, Some(odd.clone())), Some(odd));
        assert_eq!(add(None, None), None);
    }
}
