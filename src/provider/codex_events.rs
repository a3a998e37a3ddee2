//! The events of `codex exec --json`: bytes in, an answer or a class out. One JSON object per line on standard output;
//! unknown types are passed over. The answer is the last `agent_message`, and only if the turn was completed.
//!
//! A program that prints no event at all is read as plain text: what it printed is the answer.

use std::ops::ControlFlow;

use serde::Deserialize;

use crate::provider::classify::{Ending, Evidence, classify};
use crate::provider::codex_failure::{Again, again};
use crate::provider::{Completion, ProviderError};

/// Largest output accepted.
pub const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// Longest line accepted.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A run that has begun costs no less: codex's own instructions and the descriptions of its tools are about that many tokens.
const RUN_TOKENS_MIN: u64 = 10_000;

/// What the output has said so far.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    total: usize,
    plain: Vec<u8>,
    any_event: bool,
    any_item: bool,
    message: Option<String>,
    completed: Option<Usage>,
    failed: Option<String>,
    flooded: bool,
    acted: bool,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    item: Option<Item>,
    usage: Option<Usage>,
    error: Option<Failure>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize, Default, Debug, Clone, Copy)]
#[serde(default)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Failure {
    message: String,
}

impl Events {
    /// Takes the next bytes. `Break` when there are more than we accept.
    pub fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.total += bytes.len();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            self.flooded |= self.line.len() > LINE_BYTES_MAX || self.total > OUTPUT_BYTES_MAX;
            if self.flooded {
                return ControlFlow::Break(());
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        ControlFlow::Continue(())
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) if !event.kind.is_empty() => self.event(event),
            _ if self.any_event => {}
            _ => self.plain.extend_from_slice(&line),
        }
    }

    fn event(&mut self, event: Event) {
        self.any_event = true;
        self.any_item |= event.item.is_some();
        let acts = |item: &Item| matches!(item.kind.as_str(), "command_execution" | "file_change");
        self.acted |= event.item.as_ref().is_some_and(acts);
        match event.kind.as_str() {
            "item.completed" => {
                let item = event.item.unwrap_or_default();
                if item.kind == "agent_message" {
                    self.message = item.text;
                }
            }
            "turn.completed" => self.completed = Some(event.usage.unwrap_or_default()),
            "turn.failed" => self.failed = Some(event.error.unwrap_or_default().message),
            _ => {}
        }
    }

    /// Whether more came than we accept.
    pub fn flooded(&self) -> bool {
        self.flooded
    }

    /// Whether the model has run a command or changed a file: such a run is never repeated.
    pub fn acted(&self) -> bool {
        self.acted
    }

    /// Whether it has printed an event.
    pub fn has_begun(&self) -> bool {
        self.any_event
    }

    /// Tokens that a run which failed may have used, about, beyond those of the prompt. Codex calls the model several
    /// times and counts only at the end of a turn that succeeds. What was refused costs something only if the model had
    /// answered before.
    pub fn worked(&self, was_refused: bool) -> u64 {
        let may_have = if was_refused { self.any_item } else { self.any_event };
        // Four bytes are about one token.
        if may_have { RUN_TOKENS_MIN + (self.total as u64).div_ceil(4) } else { 0 }
    }

    /// When a turn that failed may be tried again, if it was told.
    pub fn again(&self) -> Option<Again> {
        self.failed.as_deref().and_then(again)
    }

    /// What a program that exited with `code` has answered. Its standard error counts only where it said nothing else:
    /// Codex writes warnings there on success, too.
    pub fn finish(mut self, code: i32, stderr: &[u8]) -> Result<Completion, ProviderError> {
        if !self.line.is_empty() {
            self.end_line();
        }
        if let Some(message) = &self.failed {
            return failed(Ending::Failed(message), &format!("codex reported a failed turn, exit code {code}"));
        }
        if code != 0 && !self.any_event {
            let stderr = String::from_utf8_lossy(stderr);
            return failed(Ending::NotBegun(code, &stderr), &format!("codex exited with code {code} before it began"));
        }
        if code != 0 {
            return failed(Ending::Exited, &format!("codex exited with code {code}"));
        }
        if !self.any_event {
            return self.plain_answer();
        }
        match (self.message, self.completed) {
            (Some(text), Some(usage)) if !text.trim().is_empty() => Ok(Completion {
                text: text.trim().to_owned(),
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                ..Completion::default()
            }),
            (_, None) => failed(Ending::Unfinished, "codex ended without completing the turn"),
            (_, Some(_)) => failed(Ending::Silent, "codex completed the turn without a message"),
        }
    }

    fn plain_answer(self) -> Result<Completion, ProviderError> {
        let text = String::from_utf8_lossy(&self.plain).trim().to_owned();
        if text.is_empty() {
            return failed(Ending::Silent, "codex printed nothing");
        }
        if text.starts_with("{\"type\":") {
            return failed(Ending::Unfinished, "codex ended within an event");
        }
        Ok(Completion { text, ..Completion::default() })
    }
}

fn failed(ending: Ending<'_>, what: &str) -> Result<Completion, ProviderError> {
    Err(ProviderError::new(classify(Evidence::Codex(ending)), what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::class::Class;

    const STARTED: &str = "{\"type\":\"thread.started\",\"thread_id\":\"x\"}\n{\"type\":\"turn.started\"}\n";
    const MESSAGE: &str =
        "{\"type\":\"item.completed\",\"item\":{\"id\":\"i\",\"type\":\"agent_message\",\"text\":\"hello\"}}\n";
    const COMPLETED: &str = "{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":5,\"output_tokens\":2}}\n";

    fn read(output: &str, code: i32, piece: usize) -> Result<Completion, ProviderError> {
        let mut events = Events::default();
        for bytes in output.as_bytes().chunks(piece) {
            assert!(events.push(bytes).is_continue());
        }
        events.finish(code, b"")
    }

    #[track_caller]
    fn check(output: &str, code: i32, want: Result<&str, Class>) {
        for piece in [1, 7, 4096] {
            let got = read(output, code, piece);
            assert_eq!(
                got.as_ref().map(|done| done.text.as_str()).map_err(|error| error.class),
                want,
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn the_answer_is_the_last_message_of_a_completed_turn() {
        let noise =
            "{\"type\":\"item.completed\",\"item\":{\"type\":\"error\",\"message\":\"Model metadata not found\"}}\n";
        check(&[STARTED, noise, "{\"type\":\"news\"}\n", MESSAGE, COMPLETED].concat(), 0, Ok("hello"));
        let done = read(&[MESSAGE, COMPLETED].concat(), 0, 9).expect("answered");
        assert_eq!((done.input_tokens, done.output_tokens), (Some(5), Some(2)));
    }

    #[test]
    fn a_turn_that_was_not_completed_has_no_answer() {
        check(&[STARTED, MESSAGE].concat(), 0, Err(Class::StreamCut));
        check(&[STARTED, MESSAGE, COMPLETED].concat(), 1, Err(Class::Exit));
        check(&[STARTED, COMPLETED].concat(), 0, Err(Class::Malformed));
        check("", 0, Err(Class::Malformed));
        check("", 1, Err(Class::Exit));
    }

    #[test]
    fn a_failed_turn_is_told_with_its_time_and_a_reconnect_is_no_failure() {
        let failed =
            |message: &str| format!("{STARTED}{{\"type\":\"turn.failed\",\"error\":{{\"message\":\"{message}\"}}}}\n");
        check(&failed("Quota exceeded. Check your plan and billing details."), 1, Err(Class::Quota));
        check(&failed("unexpected status 401 Unauthorized: x"), 0, Err(Class::Auth));
        let mut events = Events::default();
        assert!(events.push(failed("rate limit exceeded: try again in 2s").as_bytes()).is_continue());
        assert_eq!((events.again(), events.acted()), (Some(Again::In(std::time::Duration::from_secs(2))), false));
        let reconnect = "{\"type\":\"error\",\"message\":\"Reconnecting... 2/5 (unexpected status 401)\"}\n";
        check(&[STARTED, reconnect, MESSAGE, COMPLETED].concat(), 0, Ok("hello"));
        check(&[STARTED, reconnect].concat(), 1, Err(Class::Exit));
    }

    #[test]
    fn what_the_model_did_is_noticed() {
        let mut events = Events::default();
        let command = "{\"type\":\"item.started\",\"item\":{\"id\":\"i\",\"type\":\"command_execution\"}}\n";
        assert!(events.push([STARTED, MESSAGE].concat().as_bytes()).is_continue() && !events.acted());
        assert!(events.push(command.as_bytes()).is_continue() && events.acted());
    }

    #[test]
    fn a_failed_run_is_estimated_by_what_it_showed() {
        let worked = |output: &str| {
            let mut events = Events::default();
            assert!(events.push(output.as_bytes()).is_continue());
            [events.worked(false), events.worked(true)]
        };
        assert_eq!((worked(""), worked("plain\n")), ([0, 0], [0, 0]));
        let begun = RUN_TOKENS_MIN + (STARTED.len() as u64).div_ceil(4);
        assert_eq!(worked(STARTED), [begun, 0]);
        let (said, bytes) = ([STARTED, MESSAGE].concat(), (STARTED.len() + MESSAGE.len()) as u64);
        assert_eq!(worked(&said), [RUN_TOKENS_MIN + bytes.div_ceil(4); 2]);
    }

    #[test]
    fn a_program_without_events_is_read_as_text() {
        check("two\nlines\n\n", 0, Ok("two\nlines"));
        check("{\"answer\":1}", 0, Ok("{\"answer\":1}"));
        check("{\"type\":\"thread.sta", 0, Err(Class::StreamCut));
    }

    #[test]
    fn a_flood_is_noticed() {
        let mut events = Events::default();
        assert!(events.push(&vec![b'x'; LINE_BYTES_MAX + 1]).is_break() && events.flooded());
        let mut events = Events::default();
        let line = [vec![b'x'; 1000], vec![b'\n']].concat();
        assert!((0..9000).any(|_| events.push(&line).is_break()));
    }
}
