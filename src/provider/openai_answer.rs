//! Reading what a chat completions server answers: a page of JSON or a stream of events, whichever it says it sends.
//! Pure. Servers differ in what they leave out, so both are read tolerantly; but half an answer is none, and nothing of
//! an answer is heard of again once it turned out to be no answer.
//!
//! A stream is whole when its last text came with or before a `finish_reason`, or when `[DONE]` came. How the
//! connection ends after that does not matter: some servers send no `[DONE]`, some cut the connection.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::base::clock::Wall;
use crate::base::json_limits;
use crate::net::http::{Head, TransportError};
use crate::net::retry_after::retry_after;
use crate::provider::classify::{Content, Evidence, Told, classify};
use crate::provider::sse::Decoder;
use crate::provider::{Completion, ProviderError};

/// Each `finish_reason` by which servers say that the answer is not whole: their trouble, and not the model's end.
const BROKEN_OFF: [&str; 6] =
    ["error", "abort", "aborted", "cancelled", "insufficient_system_resource", "network_error"];

/// Longest name of a model or an answer that is kept, in bytes.
const NAME_BYTES_MAX: usize = 96;

/// An answer that is arriving. Its size is limited by the transport.
#[derive(Debug, Default)]
pub struct Answer {
    page: Vec<u8>,
    stream: Option<Stream>,
}

impl Answer {
    /// More of the body. `deltas` hears pieces of text. `Break`: the rest is not needed.
    pub fn push(&mut self, head: &Head, bytes: &[u8], deltas: &mut dyn FnMut(&str)) -> ControlFlow<()> {
        if self.page.is_empty() && is_stream(head) {
            return self.stream.get_or_insert_default().push(bytes, deltas);
        }
        self.page.extend_from_slice(bytes);
        ControlFlow::Continue(())
    }

    /// Whether the page names a field of our request: how servers refuse one that they do not know.
    pub fn names(&self, field: &str) -> bool {
        self.page.windows(field.len()).any(|window| window == field.as_bytes())
    }

    /// The exchange is over. `now` is `None` while the clock is not trusted.
    pub fn finish(self, outcome: Result<Head, TransportError>, now: Option<Wall>) -> Result<Completion, ProviderError> {
        let (status, completion) = match (self.stream, &outcome) {
            (Some(stream), outcome) => (200, stream.finish(outcome.is_ok())),
            (None, Ok(head)) if is_stream(head) => (head.status, Err(Problem::Unfinished)),
            (None, Ok(head)) => (head.status, read_page(head.status, &self.page)),
            (None, Err(_)) => (0, Err(Problem::Unfinished)),
        };
        match (completion, outcome) {
            (Ok(completion), _) => Ok(completion),
            // How the exchange ended says more than that the answer is not whole.
            (Err(Problem::Unfinished), Err(error)) => {
                Err(ProviderError::new(classify(Evidence::Transport(error.phase)), error.to_string()))
            }
            (Err(problem), outcome) => Err(ProviderError {
                class: classify(Evidence::Response { status, content: problem.content() }),
                retry_after: outcome.ok().and_then(|head| retry_after(&head, now)),
                detail: format!("status {status}{}", problem.phrase()),
                unasked: false,
            }),
        }
    }
}

fn is_stream(head: &Head) -> bool {
    const STREAM: &str = "text/event-stream";
    let kind = head.content_type.as_deref().and_then(|kind| kind.trim_start().get(..STREAM.len()));
    (200..300).contains(&head.status) && kind.is_some_and(|kind| kind.eq_ignore_ascii_case(STREAM))
}

/// Why this is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Told(Told),
    Withheld,
    /// The connection ended too early.
    Unfinished,
    /// The server says that it ended too early.
    BrokenOff,
    TooLarge,
    NoJson,
    NoChoice,
    NoText,
    /// The status says it all.
    Status,
}

impl Problem {
    fn content(&self) -> Content<'_> {
        match self {
            Problem::Told(told) => Content::Error(told),
            Problem::Withheld => Content::Withheld,
            Problem::Unfinished | Problem::BrokenOff => Content::Unfinished,
            Problem::TooLarge => Content::TooLarge,
            Problem::NoJson | Problem::NoChoice | Problem::NoText | Problem::Status => Content::Other,
        }
    }

    fn phrase(&self) -> &'static str {
        match self {
            Problem::Told(_) => ", an error object inside",
            Problem::Withheld => ", the answer was withheld",
            Problem::Unfinished => ", the answer ended before it was whole",
            Problem::BrokenOff => ", the server broke the answer off",
            Problem::TooLarge => ", beyond a limit of size or nesting",
            Problem::NoJson => ", not JSON as we know it",
            Problem::NoChoice => ", no choice",
            Problem::NoText => ", no text in the answer",
            Problem::Status => "",
        }
    }
}

fn read_page(status: u16, page: &[u8]) -> Result<Completion, Problem> {
    let is_success = (200..300).contains(&status);
    if !json_limits::holds(page) {
        return Err(Problem::TooLarge);
    }
    let value: Value = match serde_json::from_slice(page) {
        Ok(value) => value,
        Err(_) if !is_success => return Err(Problem::Status),
        // A body without a length ends where the connection does.
        Err(error) if error.is_eof() && !page.is_empty() => return Err(Problem::Unfinished),
        Err(_) => return Err(Problem::NoJson),
    };
    if let Some(told) = Told::of(&value) {
        return Err(Problem::Told(told));
    }
    if !is_success {
        return Err(Problem::Status);
    }
    let choice = value.get("choices").and_then(|choices| choices.get(0)).ok_or(Problem::NoChoice)?;
    let text = choice.get("message").and_then(|message| message.get("content")).map(text_of).unwrap_or_default();
    // A page is whole without a `finish_reason`, too.
    says_end(choice)?;
    let mut completion = Completion { text, ..Completion::default() };
    count(&mut completion, &value);
    checked(completion)
}

/// Whether a choice says that it is whole.
fn says_end(choice: &Value) -> Result<bool, Problem> {
    if let Some(told) = Told::of(choice) {
        return Err(Problem::Told(told));
    }
    match choice.get("finish_reason") {
        None | Some(Value::Null) => Ok(false),
        Some(reason) if reason == "content_filter" => Err(Problem::Withheld),
        Some(reason) if BROKEN_OFF.iter().any(|broken| reason == broken) => Err(Problem::BrokenOff),
        Some(reason) => Ok(reason != ""),
    }
}

/// The text without the white space around it, of which models are fond; none is no answer.
fn checked(mut completion: Completion) -> Result<Completion, Problem> {
    let text = completion.text.trim();
    if text.is_empty() {
        return Err(Problem::NoText);
    }
    if text.len() < completion.text.len() {
        completion.text = text.to_owned();
    }
    Ok(completion)
}

/// A string, or parts whose texts are joined.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).map(str::trim).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// Takes over the counts of tokens that stand in `value`. In a stream they come with the last event, or with several:
/// the last ones count.
fn count(completion: &mut Completion, value: &Value) {
    let tokens = |name: &str| value.get("usage").and_then(|usage| usage.get(name)?.as_u64());
    completion.input_tokens = tokens("prompt_tokens").or(completion.input_tokens);
    completion.output_tokens = tokens("completion_tokens").or(completion.output_tokens);
    // Every event of a stream says the same.
    if completion.id.is_none() {
        completion.id = name(value.get("id"));
        completion.model = name(value.get("model"));
    }
}

/// A name that the other side gave to something, if it looks like one: it goes into the log.
fn name(value: Option<&Value>) -> Option<String> {
    let is_plain =
        |name: &&str| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    value?.as_str().filter(is_plain).map(str::to_owned)
}

/// A stream that is arriving.
#[derive(Debug, Default)]
struct Stream {
    decoder: Decoder,
    reading: Reading,
}

/// What the events have said.
#[derive(Debug, Default)]
struct Reading {
    completion: Completion,
    /// The text is whole, unless more of it comes.
    is_whole: bool,
    problem: Option<Problem>,
}

impl Stream {
    fn push(&mut self, bytes: &[u8], deltas: &mut dyn FnMut(&str)) -> ControlFlow<()> {
        let Stream { decoder, reading } = self;
        decoder.push(bytes, &mut |data| reading.event(data, deltas)).unwrap_or_else(|_| {
            reading.problem = Some(Problem::TooLarge);
            ControlFlow::Break(())
        })
    }

    /// What there is, given whether the connection ended well.
    fn finish(mut self, ended_well: bool) -> Result<Completion, Problem> {
        if ended_well && self.reading.problem.is_none() && !self.reading.is_whole {
            let reading = &mut self.reading;
            let _ = self.decoder.finish(&mut |data| reading.event(data, &mut |_| ()));
            // An event without its end that cannot be read is one that was cut.
            self.reading.problem.take_if(|problem| *problem == Problem::NoJson);
        }
        match self.reading.problem {
            Some(problem) => Err(problem),
            None if self.reading.is_whole => checked(self.reading.completion),
            None => Err(Problem::Unfinished),
        }
    }
}

impl Reading {
    fn event(&mut self, data: &[u8], deltas: &mut dyn FnMut(&str)) -> ControlFlow<()> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_whole = true;
            return ControlFlow::Break(());
        }
        match self.chunk(data, deltas) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                self.problem = Some(problem);
                ControlFlow::Break(())
            }
        }
    }

    fn chunk(&mut self, data: &[u8], deltas: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        if !json_limits::holds(data) {
            return Err(Problem::TooLarge);
        }
        let value: Value = serde_json::from_slice(data).map_err(|_| Problem::NoJson)?;
        if let Some(told) = Told::of(&value) {
            return Err(Problem::Told(told));
        }
        count(&mut self.completion, &value);
        // We ask for one choice; a server that gives more is heard out on the first.
        let choices = value.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let first = choices.iter().find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        first.map_or(Ok(()), |choice| self.choice(choice, deltas))
    }

    fn choice(&mut self, choice: &Value, deltas: &mut dyn FnMut(&str)) -> Result<(), Problem> {
        // A server that cannot stream may still answer with an event: one with the whole message.
        let part = choice.get("delta").or_else(|| choice.get("message"));
        let text = part.and_then(|part| part.get("content")).map(text_of).unwrap_or_default();
        if !text.is_empty() {
            self.is_whole = false;
            self.completion.text.push_str(&text);
            deltas(&text);
        }
        self.is_whole |= says_end(choice)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::net::http::Phase;
    use crate::provider::class::Class;

    fn head(status: u16, kind: &str) -> Head {
        Head { status, content_type: Some(kind.to_owned()), ..Head::default() }
    }

    fn read(status: u16, body: &str) -> Result<Completion, ProviderError> {
        let (mut answer, head) = (Answer::default(), head(status, "application/json"));
        let _ = answer.push(&head, body.as_bytes(), &mut |_| ());
        answer.finish(Ok(head), None)
    }

    #[track_caller]
    fn check(status: u16, body: &str, want: Result<&str, Class>) {
        let got = read(status, body);
        assert_eq!(got.as_ref().map(|done| done.text.as_str()).map_err(|error| error.class), want, "{body}");
    }

    #[test]
    fn answers_are_read_tolerantly() {
        check(200, r#"{"choices":[{"message":{"content":" hi "}}]}"#, Ok("hi"));
        check(
            200,
            r#"{"error":null,"choices":[{"message":{"content":[{"text":"a"},{"x":1},{"text":"b"}]}}],"usage":null}"#,
            Ok("a\nb"),
        );
        check(
            200,
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":7}],"usage":{"prompt_tokens":1.5}}"#,
            Ok("x"),
        );
        check(201, r#"{"choices":[{"message":{"content":"x"},"finish_reason":null}]}"#, Ok("x"));
        // Of a key that is there twice the last one counts.
        check(200, r#"{"choices":[],"choices":[{"message":{"content":"x","content":"y"}}]}"#, Ok("y"));
    }

    #[test]
    fn everything_else_is_classified() {
        check(200, "<html>login</html>", Err(Class::Malformed));
        check(200, "{}", Err(Class::Malformed));
        check(200, "", Err(Class::Malformed));
        check(200, r#"{"choices":[{"message":{"content":null,"tool_calls":[]}}]}"#, Err(Class::Malformed));
        check(200, r#"{"choices":[{"message":{"content":" \n"}}]}"#, Err(Class::Malformed));
        check(200, r#"{"choices":[{"message":{"content":"half an ans"#, Err(Class::StreamCut));
        check(
            200,
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#,
            Err(Class::ContentFilter),
        );
        for reason in BROKEN_OFF {
            let body =
                format!(r#"{{"choices":[{{"message":{{"content":"half an ans"}},"finish_reason":"{reason}"}}]}}"#);
            check(200, &body, Err(Class::StreamCut));
        }
        let half = r#"{"finish_reason":"error","error":{"code":502},"message":{"content":"half an ans"}}"#;
        check(200, &format!(r#"{{"choices":[{half}]}}"#), Err(Class::Server));
        check(200, r#"{"error":{"code":"rate_limit_exceeded"}}"#, Err(Class::RateLimited));
        check(200, r#"{"error":"something"}"#, Err(Class::Malformed));
        check(200, &"[".repeat(json_limits::DEPTH_MAX + 1), Err(Class::TooLarge));
        check(500, &"[".repeat(json_limits::DEPTH_MAX + 1), Err(Class::Server));
        check(429, r#"{"error":{"type":"insufficient_quota"}}"#, Err(Class::Quota));
        check(429, "try again", Err(Class::RateLimited));
        check(500, "", Err(Class::Server));
    }

    #[test]
    fn upstream_text_is_not_part_of_an_error() {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-canary","code":"invalid_api_key"}}"#;
        let error = read(401, body).expect_err("an error");
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    /// A stream that comes in these chunks and then ends so; the pieces that were heard before.
    fn streamed(chunks: &[&[u8]], end: Option<Phase>) -> (Result<Completion, ProviderError>, String) {
        let (mut answer, mut heard) = (Answer::default(), String::new());
        let head = head(200, "Text/Event-Stream; charset=utf-8");
        for chunk in chunks {
            if answer.push(&head, chunk, &mut |text| heard.push_str(text)).is_break() {
                let error = TransportError { phase: Phase::Refused, sent: true };
                return (answer.finish(Err(error), None), heard);
            }
        }
        let outcome = end.map_or(Ok(head), |phase| Err(TransportError { phase, sent: true }));
        (answer.finish(outcome, None), heard)
    }

    #[track_caller]
    fn check_stream(events: &[&str], end: Option<Phase>, want: Result<&str, Class>) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let (got, _) = streamed(&[body.as_bytes()], end);
        assert_eq!(got.as_ref().map(|done| done.text.as_str()).map_err(|error| error.class), want, "{body}");
    }

    const HELLO: &str =
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}"#;
    const HERON: &str = r#"{"choices":[{"delta":{"content":", heron. "}}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    const DONE: &str = "[DONE]";
    const WHOLE: Result<&str, Class> = Ok("Hello, heron.");

    #[test]
    fn a_stream_is_whole_when_it_says_so_and_however_it_ends_then() {
        check_stream(&[HELLO, HERON, STOP, USAGE, DONE], None, WHOLE);
        check_stream(&[HELLO, HERON, STOP, USAGE], None, WHOLE);
        check_stream(&[HELLO, HERON, DONE], None, WHOLE);
        check_stream(&[HELLO, HERON, DONE, "after the end"], None, WHOLE);
        for phase in [Phase::Cut, Phase::Idle, Phase::Total, Phase::Malformed] {
            check_stream(&[HELLO, HERON, STOP], Some(phase), WHOLE);
        }
        let last = r#"{"choices":[{"delta":{"content":", heron."},"finish_reason":"length"}],"usage":null}"#;
        check_stream(&[HELLO, last], None, WHOLE);
        check_stream(
            &[r#"{"choices":[{"message":{"content":"all at once"},"finish_reason":"stop"}]}"#],
            None,
            Ok("all at once"),
        );
    }

    #[test]
    fn a_stream_that_is_not_whole_is_no_answer() {
        check_stream(&[HELLO, HERON], None, Err(Class::StreamCut));
        check_stream(&[], None, Err(Class::StreamCut));
        check_stream(&[STOP], None, Err(Class::Malformed));
        check_stream(&[HELLO, STOP, HERON], None, Err(Class::StreamCut));
        let empty_reason = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":""}]}"#;
        check_stream(&[empty_reason], None, Err(Class::StreamCut));
        for (phase, class) in
            [(Phase::Cut, Class::StreamCut), (Phase::Idle, Class::TimeoutIdle), (Phase::Total, Class::Deadline)]
        {
            check_stream(&[HELLO, HERON], Some(phase), Err(class));
            check_stream(&[], Some(phase), Err(class));
        }
    }

    #[test]
    fn trouble_in_a_stream_is_classified_and_what_came_before_is_dropped() {
        check_stream(&[HELLO, r#"{"error":{"code":"server_error","message":"x"}}"#, DONE], None, Err(Class::Server));
        check_stream(&[HELLO, r#"{"error":{"code":429},"choices":[]}"#], None, Err(Class::RateLimited));
        check_stream(&[HELLO, "{nonsense}", STOP, DONE], None, Err(Class::Malformed));
        check_stream(&[HELLO, "[1,2", STOP, DONE], None, Err(Class::Malformed));
        let withheld = r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#;
        check_stream(&[HELLO, withheld, DONE], None, Err(Class::ContentFilter));
        for reason in BROKEN_OFF {
            let broken = format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}"}}]}}"#);
            check_stream(&[HELLO, &broken, DONE], None, Err(Class::StreamCut));
        }
        let broken = r#"{"choices":[{"delta":{"content":"x"},"error":{"code":429},"finish_reason":"error"}]}"#;
        check_stream(&[HELLO, broken, DONE], None, Err(Class::RateLimited));
        check_stream(&[HELLO, &"[".repeat(65)], None, Err(Class::TooLarge));
        check_stream(&[HELLO, &"x".repeat(1 << 21)], None, Err(Class::TooLarge));
    }

    #[test]
    fn usage_is_counted_wherever_it_stands_and_may_be_missing() {
        let usage = |events: &[&str]| {
            let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            let (done, _) = streamed(&[body.as_bytes()], None);
            let done = done.expect("an answer");
            (done.input_tokens, done.output_tokens)
        };
        let counted = (Some(7), Some(3));
        assert_eq!(usage(&[HELLO, STOP, USAGE, DONE]), counted);
        assert_eq!(usage(&[HELLO, STOP, DONE]), (None, None));
        assert_eq!(usage(&[HELLO, STOP, r#"{"usage":null}"#, DONE]), (None, None));
        assert_eq!(usage(&[USAGE, HELLO, r#"{"choices":[],"usage":null}"#, STOP, DONE]), counted);
    }

    #[test]
    fn other_choices_and_other_fields_are_passed_over() {
        let other = r#"{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"stop"}]}"#;
        let thinking = r#"{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hm"}}]}"#;
        check_stream(&[other, thinking, HELLO, other, HERON, STOP, "{}", "7", "null"], None, WHOLE);
    }

    /// P8, without a network: a stream that ends at any byte, well or not, is the whole answer or none.
    #[test]
    fn a_stream_cut_at_any_byte_is_never_half_an_answer() {
        let body: String = [HELLO, HERON, STOP, USAGE, DONE].iter().map(|event| format!("data: {event}\n\n")).collect();
        let whole =
            body.find(r#""finish_reason":"stop"}]}"#).expect("it is there") + r#""finish_reason":"stop"}]}"#.len();
        let seed = 5;
        let mut rng = Rng::from_seed(seed);
        for cut in 0..body.len() {
            for end in [None, Some(Phase::Cut), Some(Phase::Idle)] {
                let middle = rng.up_to(cut as u64) as usize;
                let chunks = [&body.as_bytes()[..middle], &body.as_bytes()[middle..cut]];
                let (got, heard) = streamed(&chunks, end);
                assert!("Hello, heron. ".starts_with(&heard), "seed {seed}: {heard}");
                match got {
                    Ok(done) => assert!(cut >= whole && done.text == "Hello, heron.", "seed {seed}: cut at {cut}"),
                    Err(error) => {
                        let want = [Class::StreamCut, Class::TimeoutIdle];
                        assert!(want.contains(&error.class), "seed {seed}: cut at {cut}: {error}");
                    }
                }
            }
        }
    }
}
