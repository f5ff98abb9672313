//! A connection's course: requests one after the other, and for each the steps of its answer.
//!
//! Not here: what a step looks like ([`super::dialect`]).

use std::io::{self, BufReader, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::{Answer, Body, Step};
use super::dialect::{Asked, Speaker};
use super::http::{Request, Response};
use super::server::Shared;

/// How often a pause without an end looks whether it is over.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a connection is not used any further.
enum Gone {
    /// The client hung up, or the server is stopping.
    HungUp,
    /// The script says so.
    Closed,
}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self::HungUp
    }
}

/// Answers whatever is asked on this connection, until one side closes it.
pub(super) fn serve(shared: &Shared, stream: &TcpStream) {
    // Small pieces are to leave at once.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let is_last = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let asked = Asked::read(&request);
        let answer = shared.take_answer(request);
        let outcome = match asked {
            None => Response::whole(stream, 404, &[], r#"{"error":{"message":"no such page"}}"#)
                .map_err(Gone::from),
            Some(asked) => {
                let answer = answer
                    .or_else(|| Answer::of_script(&asked.last_user, asked.n_rounds))
                    .unwrap_or_else(|| repeating(&asked, shared.pace));
                Answering { shared, stream, asked: &asked }.answer(&answer)
            }
        };
        match outcome {
            Ok(()) if is_last => return,
            Ok(()) => {}
            Err(Gone::Closed) => return,
            Err(Gone::HungUp) => return shared.note_hung_up(),
        }
    }
}

/// The user's own words, or what the tools said.
fn repeating(asked: &Asked, pace: Duration) -> Answer {
    let text = match asked.tool_results.as_slice() {
        [] => format!("You said: {}", asked.last_user),
        results => format!("The tools said: {}", results.join(" ")),
    };
    let answer = Answer::text(&text);
    match (pace.is_zero(), answer.body) {
        (false, Body::Steps(steps)) => {
            Answer::of_steps(steps.into_iter().flat_map(|step| [Step::Wait(pace), step]).collect())
        }
        (_, body) => Answer { body, ..Answer::default() },
    }
}

struct Answering<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    asked: &'a Asked,
}

impl Answering<'_> {
    fn answer(&self, answer: &Answer) -> Result<(), Gone> {
        for step in &answer.before_head {
            self.pause(step)?;
        }
        let mut headers: Vec<(&str, &str)> =
            answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        match &answer.body {
            Body::Bytes(bytes) => {
                io::Write::write_all(&mut &*self.stream, bytes)?;
                Err(Gone::Closed)
            }
            Body::Whole(body) => {
                if !has_type {
                    headers.push(("content-type", "application/json"));
                }
                Ok(Response::whole(self.stream, answer.status, &headers, body)?)
            }
            Body::Steps(steps) if self.asked.is_streaming => {
                if !has_type {
                    headers.push(("content-type", self.asked.dialect.content_type()));
                }
                let is_chunked = !answer.is_unframed;
                let response = Response::begin(self.stream, answer.status, &headers, is_chunked)?;
                self.stream_steps(response, steps)?;
                if answer.is_unframed { Err(Gone::Closed) } else { Ok(()) }
            }
            Body::Steps(steps) => self.gather_steps(answer, &headers, steps),
        }
    }

    fn stream_steps(&self, mut response: Response<&TcpStream>, steps: &[Step]) -> Result<(), Gone> {
        let mut speaker = Speaker::new(self.asked);
        response.write(speaker.begin().as_bytes())?;
        for step in steps {
            match step {
                Step::Wait(_) | Step::Hold => {
                    response.flush()?;
                    self.pause(step)?;
                }
                Step::Raw(bytes) => {
                    response.write(bytes)?;
                    response.flush()?;
                }
                Step::Close => return Ok(response.end()?),
                Step::Cut => {
                    response.flush()?;
                    return Err(Gone::Closed);
                }
                step => response.write(speaker.say(step).as_bytes())?,
            }
        }
        response.write(speaker.end().as_bytes())?;
        Ok(response.end()?)
    }

    /// The answer as one JSON object.
    fn gather_steps(&self, answer: &Answer, headers: &[(&str, &str)], steps: &[Step]) -> Result<(), Gone> {
        let mut speaker = Speaker::new(self.asked);
        for step in steps {
            match step {
                Step::Wait(_) | Step::Hold => self.pause(step)?,
                Step::Raw(bytes) => {
                    let body = String::from_utf8_lossy(bytes);
                    return Ok(Response::whole(self.stream, answer.status, headers, &body)?);
                }
                Step::Cut => return Err(Gone::Closed),
                Step::Close => break,
                step => speaker.gather(step),
            }
        }
        let headers = [headers, &[("content-type", "application/json")]].concat();
        Ok(Response::whole(self.stream, answer.status, &headers, &speaker.whole().to_string())?)
    }

    /// Waits, and sees at once when the client hangs up meanwhile.
    fn pause(&self, step: &Step) -> Result<(), Gone> {
        let start = Instant::now();
        loop {
            let left = match step {
                Step::Wait(duration) => duration.saturating_sub(start.elapsed()),
                Step::Hold if self.shared.take_release() => Duration::ZERO,
                Step::Hold => LOOK_AGAIN,
                _ => Duration::ZERO,
            };
            if left.is_zero() {
                return Ok(self.stream.set_read_timeout(None)?);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.peek(&mut [0]) {
                Ok(0) => return Err(Gone::HungUp),
                // The next request, already: it has to wait, too.
                Ok(_) => std::thread::sleep(left),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Err(Gone::HungUp),
            }
        }
    }
}
