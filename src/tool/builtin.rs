//! The built-in tools: `model_info`, `session_tail`, `time_now`. Outputs keep the formats of contract §8.

use serde::Serialize;

use crate::base::text;
use crate::tool::{Context, Tool, ToolError};

/// Most lines `session_tail` shows.
const TAIL_LINES_MAX: u64 = 50;

/// Lines it shows when not told.
const TAIL_LINES_DEFAULT: u64 = 5;

/// Characters it shows of one line. With [`TAIL_LINES_MAX`] this bounds the output, so that showing the end of a
/// session cannot make the session grow without end.
const TAIL_CHARS_MAX: usize = 500;

/// What stands for an earlier output of `session_tail`: the output never holds itself.
const TAIL_LEFT_OUT: &str = "[tool:session_tail] (left out)";

/// The configured provider and model.
pub struct ModelInfo;

/// The last lines of the session.
pub struct SessionTail;

/// The date and time.
pub struct TimeNow;

impl Tool for ModelInfo {
    fn name(&self) -> &'static str {
        "model_info"
    }

    fn description(&self) -> &'static str {
        "Show the provider, the model and the session"
    }

    fn usage(&self) -> &'static str {
        "/tool model_info"
    }

    fn run(&self, arguments: &str, context: &Context<'_>) -> Result<String, ToolError> {
        no_arguments(arguments, self.usage())?;
        Ok(format!("provider={}\nmodel={}\nsession_id={}", context.provider, context.model, context.session))
    }
}

impl Tool for TimeNow {
    fn name(&self) -> &'static str {
        "time_now"
    }

    fn description(&self) -> &'static str {
        "Show the date and time in UTC"
    }

    fn usage(&self) -> &'static str {
        "/tool time_now"
    }

    fn run(&self, arguments: &str, context: &Context<'_>) -> Result<String, ToolError> {
        no_arguments(arguments, self.usage())?;
        Ok(context.now.rfc3339())
    }
}

impl Tool for SessionTail {
    fn name(&self) -> &'static str {
        "session_tail"
    }

    fn description(&self) -> &'static str {
        "Show the last messages of this session"
    }

    fn usage(&self) -> &'static str {
        "/tool session_tail [COUNT 1..50]"
    }

    fn run(&self, arguments: &str, context: &Context<'_>) -> Result<String, ToolError> {
        let bad = || ToolError::Arguments { usage: self.usage() };
        let count = match arguments {
            "" => TAIL_LINES_DEFAULT,
            text => text.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?,
        };
        let tail =
            (context.tail)(usize::try_from(count.min(TAIL_LINES_MAX)).unwrap_or(1)).ok_or(ToolError::Unreadable)?;
        let messages: Vec<Shown> = tail
            .lines
            .into_iter()
            .map(|line| Shown { content: shown(&line.content), role: line.role, timestamp: line.timestamp })
            .collect();
        let output = Output {
            returned_messages: messages.len(),
            messages,
            session_id: context.session,
            total_messages: tail.total,
        };
        Ok(serde_json::to_string_pretty(&output).expect("lines are text"))
    }
}

#[derive(Serialize)]
struct Output<'a> {
    messages: Vec<Shown>,
    returned_messages: usize,
    session_id: &'a str,
    total_messages: u64,
}

#[derive(Serialize)]
struct Shown {
    content: String,
    role: String,
    timestamp: String,
}

fn shown(content: &str) -> String {
    if content.starts_with("[tool:session_tail]") {
        return TAIL_LEFT_OUT.to_owned();
    }
    text::shorten(content, TAIL_CHARS_MAX)
}

fn no_arguments(arguments: &str, usage: &'static str) -> Result<(), ToolError> {
    if arguments.is_empty() { Ok(()) } else { Err(ToolError::Arguments { usage }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Wall;
    use crate::tool::{Tail, TailLine, all, run};

    fn run_on(name: &str, arguments: &str, contents: &[String]) -> Result<String, ToolError> {
        let tail = |count: usize| {
            let skip = contents.len().saturating_sub(count);
            let line =
                |content: &String| TailLine { role: "user".into(), content: content.clone(), timestamp: "t".into() };
            Some(Tail { lines: contents.iter().skip(skip).map(line).collect(), total: contents.len() as u64 })
        };
        let context = Context { provider: "local", model: "m", session: "telegram:1", now: Wall(0), tail: &tail };
        run(name, arguments, &context)
    }

    #[test]
    fn outputs_keep_their_formats() {
        assert_eq!(
            run_on("model_info", "", &[]),
            Ok("[tool:model_info]\nprovider=local\nmodel=m\nsession_id=telegram:1".into())
        );
        assert_eq!(run_on("time_now", "", &[]), Ok("[tool:time_now]\n1970-01-01T00:00:00.000+00:00".into()));
        let tail = run_on("session_tail", "1", &["a".into(), "b".into()]).expect("shown");
        let json: serde_json::Value =
            serde_json::from_str(tail.strip_prefix("[tool:session_tail]\n").expect("framed")).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"messages": [{"content": "b", "role": "user", "timestamp": "t"}],
            "returned_messages": 1, "session_id": "telegram:1", "total_messages": 2})
        );
    }

    #[test]
    fn wrong_calls_say_what_is_right() {
        assert!(
            run_on("weather", "", &[])
                .expect_err("unknown")
                .to_string()
                .contains("available: model_info, session_tail, time_now")
        );
        for arguments in ["0", "-1", "x", "1 2"] {
            assert!(matches!(run_on("session_tail", arguments, &[]), Err(ToolError::Arguments { .. })), "{arguments}");
        }
        assert!(matches!(run_on("time_now", "now", &[]), Err(ToolError::Arguments { .. })));
    }

    #[test]
    fn showing_the_session_again_and_again_does_not_feed_on_itself() {
        let mut contents = vec!["x".repeat(100_000)];
        for _ in 0..200 {
            let output = run_on("session_tail", "50", &contents).expect("shown");
            contents.extend(["/tool session_tail 50".to_owned(), output]);
        }
        let longest = contents.iter().skip(1).map(String::len).max().unwrap_or(0);
        assert!(longest < 50 * (TAIL_CHARS_MAX + 200), "{longest}");
    }

    #[test]
    fn the_registry_is_sorted() {
        assert!(all().is_sorted_by_key(|tool| tool.name()));
    }
}
