//! Answers whose status says that there is none.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::failure::{Failure, Retry};
use super::kind::ProviderKind;
use super::target::Target;

/// What this status, with these headers and this body, means.
pub(super) fn failure(target: &Target, status: StatusCode, headers: &HeaderMap, body: &str) -> Failure {
    let Target { kind, address, .. } = target;
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    // A page of a proxy says nothing worth repeating.
    let text =
        if json.is_null() && !body.trim_start().starts_with('<') { body.to_owned() } else { said(&json) };
    let said = target.quote(&text);
    let number = status.as_u16();
    let wait = retry_after(headers);
    let retry = match wait {
        _ if header(headers, "x-should-retry") == Some("false") => Retry::Never,
        // More money is needed, not more time.
        _ if class(&json) == Some("no_credit") => Retry::Never,
        Some(wait) => Retry::After(wait),
        None => Retry::Soon,
    };
    let again = match wait {
        Some(wait) => format!("try again in {} s", wait.as_secs_f64().ceil()),
        None => "try again in a moment".to_owned(),
    };
    match number {
        429 => {
            let message = format!("{kind} at {address} takes no more requests for now (429){said}; {again}");
            Failure::new("rate_limited", message, retry)
        }
        503 | 529 => {
            let message = format!("{kind} at {address} is overloaded ({number}){said}; {again}");
            Failure::new("overloaded", message, retry)
        }
        300..=499 => {
            // Gemini calls a wrong key a bad request.
            let about = if number == 400 && text.contains("API key") { 401 } else { number };
            let advice = advice(target, about);
            let message = format!("{kind} at {address} rejected the request ({number}){said}; {advice}");
            let retry = if matches!(number, 408 | 409) { retry } else { Retry::Never };
            Failure::new("rejected", message, retry)
        }
        _ => {
            let message = format!("{kind} at {address} failed ({number}){said}; {again}");
            let retry = if matches!(number, 500 | 502 | 504) { retry } else { Retry::Never };
            Failure::new("provider_failed", message, retry)
        }
    }
}

/// What to do about a rejected request.
fn advice(target: &Target, number: u16) -> String {
    let Target { kind, name, .. } = target;
    match (number, kind.key_variable()) {
        (300..=399, _) => "the base URL leads elsewhere: set it to the address that answers".to_owned(),
        (401 | 403, Some(variable)) if *kind != ProviderKind::OpenAi || target.key.is_some() => {
            format!("check {variable} and that its account may use {name}")
        }
        (401 | 403, Some(variable)) => format!("it wants an API key: set {variable}"),
        (401 | 403, None) => "check the API key of what stands before it".to_owned(),
        (404, _) => format!("check the model {name:?} and the base URL"),
        (413, _) => "shorten the conversation or begin a new session".to_owned(),
        _ => "change the message, the tools or the model as it says".to_owned(),
    }
}

/// The provider's own words in the body of an error.
pub(super) fn said(body: &Value) -> String {
    // Gemini wraps an error in a list where the answer would have been one.
    let body = body.get(0).unwrap_or(body);
    let places =
        ["/error/message", "/message", "/error", "/detail", "/error/error/message", "/finishReason", ""];
    let text = places.iter().find_map(|place| body.pointer(place).and_then(Value::as_str));
    text.unwrap_or_default().to_owned()
}

/// What kind of error it is, in our word, if the body tells.
pub(super) fn class(body: &Value) -> Option<&'static str> {
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    ["type", "code", "status"].iter().find_map(|key| match error.get(key)? {
        Value::String(word) => match word.as_str() {
            "overloaded_error" | "overloaded" | "UNAVAILABLE" => Some("overloaded"),
            "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => Some("rate_limited"),
            "insufficient_quota" => Some("no_credit"),
            _ => None,
        },
        Value::Number(number) => match number.as_u64() {
            Some(503 | 529) => Some("overloaded"),
            Some(429) => Some("rate_limited"),
            _ => None,
        },
        _ => None,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// How long the provider asks to be left alone: in milliseconds, in seconds, or until a time, which is compared with the
/// provider's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number >= 0.0);
    if let Some(millis) = header(headers, "retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let text = header(headers, RETRY_AFTER.as_str())?;
    if let Some(seconds) = number(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let time = |text: &str| jiff::fmt::rfc2822::parse(text).ok();
    let (until, now) = (time(text)?, time(header(headers, DATE.as_str())?)?);
    let seconds = until.timestamp().as_second().saturating_sub(now.timestamp().as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::provider::options::{Account, ProviderOptions};
    use crate::provider::target::Directory;

    fn target() -> Target {
        let mut options = ProviderOptions::new(ProviderKind::OpenAi, "gpt");
        let account = Account { base_url: None, api_key: Some("sk-secret".to_owned()) };
        options.accounts.insert(ProviderKind::OpenAi, account);
        Directory::new(&options).unwrap().choose(None).unwrap()
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    fn fail(number: u16, list: &[(&'static str, &'static str)], body: &str) -> Failure {
        failure(&target(), StatusCode::from_u16(number).unwrap(), &headers(list), body)
    }

    #[test]
    fn each_status_has_its_code_and_whether_to_try_again() {
        let soon = Retry::Soon;
        for (number, code, retry) in [
            (302, "rejected", Retry::Never),
            (400, "rejected", Retry::Never),
            (401, "rejected", Retry::Never),
            (404, "rejected", Retry::Never),
            (408, "rejected", soon),
            (409, "rejected", soon),
            (413, "rejected", Retry::Never),
            (422, "rejected", Retry::Never),
            (429, "rate_limited", soon),
            (500, "provider_failed", soon),
            (501, "provider_failed", Retry::Never),
            (502, "provider_failed", soon),
            (503, "overloaded", soon),
            (504, "provider_failed", soon),
            (529, "overloaded", soon),
        ] {
            let failure = fail(number, &[], "");
            assert_eq!((failure.code, failure.retry), (code, retry), "{number}");
            assert!(failure.message.contains(&number.to_string()), "{}", failure.message);
        }
    }

    #[test]
    fn the_provider_says_how_long_to_wait() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:30 GMT");
        for (list, millis) in [
            (vec![("retry-after", "7")], 7000),
            (vec![("retry-after", "1.5")], 1500),
            (vec![("retry-after-ms", "250"), ("retry-after", "7")], 250),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), date], 7000),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:20 GMT"), date], 0),
        ] {
            assert_eq!(retry_after(&headers(&list)), Some(Duration::from_millis(millis)), "{list:?}");
        }
        for value in ["soon", "-1", "1e400", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(&headers(&[("retry-after", value)])), None, "{value}");
        }
        let failure = fail(429, &[("retry-after", "6.2")], "");
        assert!(failure.message.contains("try again in 7 s"), "{}", failure.message);
        assert_eq!(fail(429, &[("retry-after", "7"), ("x-should-retry", "false")], "").retry, Retry::Never);
        assert_eq!(fail(429, &[], r#"{"error":{"code":"insufficient_quota"}}"#).retry, Retry::Never);
    }

    #[test]
    fn the_providers_own_words_are_repeated_without_the_key() {
        for body in [
            json!({"error": {"message": "bad key sk-secret.\n"}}),
            json!({"message": "bad key sk-secret"}),
            json!({"error": "bad key sk-secret"}),
            json!({"detail": "bad key sk-secret"}),
            json!([{"error": {"message": "bad key sk-secret"}}]),
        ] {
            let message = fail(401, &[], &body.to_string()).message;
            assert!(message.contains(": bad key ***; check OPENAI_API_KEY"), "{message}");
        }
        let message = fail(400, &[], &"long ".repeat(1000)).message;
        assert!(message.len() < 700 && message.contains("…"), "{message}");
        let message = fail(502, &[], "<html>Bad gateway</html>").message;
        assert!(!message.contains("html"), "{message}");
    }
}
