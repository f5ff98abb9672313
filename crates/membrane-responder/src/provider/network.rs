//! What can happen on the way to a provider and back.

use std::error::Error;

use super::failure::{Failure, Retry};
use super::target::Target;

/// What this error of the HTTP client means. Its own words are not used: they hold the whole URL.
pub(super) fn failure(target: &Target, error: &reqwest::Error, has_spoken: bool) -> Failure {
    let Target { kind, address, .. } = target;
    if error.is_connect() && error.is_timeout() {
        let message = format!(
            "{kind} at {address} could not be reached in time; check the base URL and the network, or allow more time"
        );
        return Failure::new("timed_out", message, Retry::Soon);
    }
    let cause = target.clean(&deepest(error));
    if error.is_connect() {
        let message = format!(
            "{kind} at {address} cannot be reached: {cause}; check the base URL and that it is running"
        );
        return Failure::new("unreachable", message, Retry::Soon);
    }
    if error.is_builder() {
        let message =
            format!("the request to {kind} at {address} cannot be made: {cause}; check the base URL");
        return Failure::new("rejected", message, Retry::Never);
    }
    if is_nonsense(error) {
        return Failure::not_understood(target, &cause, "");
    }
    let mut failure = Failure::cut_off(target, has_spoken);
    if error.is_request() {
        // Before the answer's head. Mostly the provider closed a connection that had been kept open just as it was used.
        failure.retry = Retry::Soon;
    }
    failure
}

/// Whether what came was no HTTP, or no body as its head announced it.
fn is_nonsense(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The words of the error that caused all others.
fn deepest(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else { return String::new() };
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
