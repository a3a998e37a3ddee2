//! One turn as a state machine: ask, run a tool, ask again, reply. What a person is told when it fails comes from the
//! table of classes and never from an error's own text.

use std::time::Duration;

use crate::base::message::{HISTORY, HISTORY_AFTER, Inbound, Message, Path, Reply, Role, STOPPED, Summary};
use crate::provider::class::Class;
use crate::provider::spending::Refusal;
use crate::tool::command::{self, ToolCall};

/// Tools a model may run in one turn; then it must answer.
pub const TOOL_STEPS_MAX: usize = 2;

/// What stands in for a third request.
const TOOL_LIMIT_REACHED: &str =
    "I have used the two tool calls that one message allows and still have no answer. Please ask in smaller steps.";

/// What the model is told after a tool ran.
const FOLLOW_UP: &str = "Use the tool output above to answer my last message. Do not repeat the tool call.";

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the model, with [`Turn::follow_up`] behind the person's message.
    Ask,
    /// Run a tool.
    Run {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: String,
    },
    /// Done.
    Reply(Answered),
}

/// How the turn ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the person is told.
    pub text: String,
    /// Who answered.
    pub path: Path,
    /// The tool of a `/tool` message.
    pub tool: Option<String>,
    /// The class of the failure.
    pub error: Option<&'static str>,
}

/// A turn under way.
#[derive(Clone, Debug)]
pub struct Turn {
    step: Step,
    /// The `/tool` message in its normal form, if it is one.
    command: Option<String>,
    follow_up: Vec<Message>,
    tool_steps: usize,
}

impl Turn {
    /// A message arrived.
    pub fn begin(text: &str) -> Turn {
        let (step, command) = match command::parse(text) {
            Ok(None) => (Step::Ask, None),
            Ok(Some(call)) => (run(&call), Some(call.to_string())),
            Err(syntax) => {
                (Step::Reply(failed_tool(None, &format!("Tool error: {syntax}."))), Some(text.trim().to_owned()))
            }
        };
        Turn { step, command, follow_up: Vec::new(), tool_steps: 0 }
    }

    /// What to do now.
    pub fn next(&self) -> &Step {
        &self.step
    }

    /// Whether the person asked for the tool.
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }

    /// What the transcript shows as the person's line.
    pub fn user_text<'a>(&'a self, text: &'a str) -> &'a str {
        self.command.as_deref().unwrap_or(text)
    }

    /// Tool calls so far and what they gave, for the next question.
    pub fn follow_up(&self) -> &[Message] {
        &self.follow_up
    }

    /// The model answered, or failed for good.
    pub fn on_answer(&mut self, answer: Result<String, (Class, Option<Duration>)>, reference: &str) {
        let done = |text: String, error| Step::Reply(Answered { text, path: Path::Provider, tool: None, error });
        self.step = match answer {
            Err((class, wait)) => done(apology(class, wait, reference), Some(class.name())),
            Ok(text) => match command::action(&text) {
                None => done(text, None),
                Some(_) if self.tool_steps >= TOOL_STEPS_MAX => done(TOOL_LIMIT_REACHED.to_owned(), None),
                Some(call) => run(&call),
            },
        };
    }

    /// The tool ran, or failed.
    pub fn on_tool(&mut self, output: Result<String, String>) {
        let Step::Run { name, arguments } = self.step.clone() else { return };
        if self.command.is_some() {
            self.step = Step::Reply(match output {
                Ok(text) => Answered { text, path: Path::Tool, tool: Some(name), error: None },
                Err(reason) => failed_tool(Some(name), &format!("Tool error: {reason}.")),
            });
            return;
        }
        self.tool_steps += 1;
        let framed = output.unwrap_or_else(|reason| format!("error: {reason}"));
        let result = framed.strip_prefix(&format!("[tool:{name}]\n")).unwrap_or(&framed);
        let say = |role, content: String| Message { role, content };
        self.follow_up.retain(|message| message.content != FOLLOW_UP);
        self.follow_up.push(say(Role::Assistant, ToolCall { name: &name, arguments: &arguments }.to_string()));
        self.follow_up.push(say(Role::System, format!("[tool:{name} args={arguments}]\n{result}")));
        self.follow_up.push(say(Role::User, FOLLOW_UP.to_owned()));
        self.step = Step::Ask;
    }
}

fn run(call: &ToolCall<'_>) -> Step {
    Step::Run { name: call.name.to_owned(), arguments: call.arguments.to_owned() }
}

fn failed_tool(tool: Option<String>, text: &str) -> Answered {
    Answered { text: text.to_owned(), path: Path::Tool, tool, error: Some("tool") }
}

/// What a person is told about a failure, and how long it will last, if that is known.
pub fn apology(class: Class, wait: Option<Duration>, reference: &str) -> String {
    const AGAIN: &str = " Please try again";
    let sentence = class.sentence();
    match wait.filter(|wait| !wait.is_zero()) {
        None => format!("Sorry, {sentence} (ref {reference})"),
        Some(wait) => {
            let what = sentence.split(AGAIN).next().unwrap_or_default();
            format!("Sorry, {what}{AGAIN} in about {}. (ref {reference})", in_words(wait))
        }
    }
}

/// What a person is told when a model is not asked because a limit is reached.
pub fn refused(refusal: &Refusal, reference: &str) -> String {
    let (what, wait) = (refusal.sentence(), in_words(refusal.wait));
    format!("Sorry, {what} Please try again in about {wait}. (ref {reference})")
}

/// Rounded up: a person who comes back then is not too early.
pub(super) fn in_words(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let (count, unit) = match seconds {
        0..=90 => (seconds, "second"),
        91..=5400 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3600), "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What a person is told about a message that ended the process again and again.
pub fn given_up(reference: &str) -> String {
    format!(
        "Sorry, I was interrupted several times while answering this, so I have given it up. Please try again. (ref {reference})"
    )
}

/// What a person is told about messages that are too old to be answered.
pub fn expired(reference: &str) -> String {
    format!(
        "Sorry, I could not answer for more than a day, so I have left what was written before. Please ask again what \
         still matters. (ref {reference})"
    )
}

/// The reply to a message that is refused because too many of its chat are open.
pub fn refusal(inbound: &Inbound, open_max: usize, names: &Names) -> Reply {
    let text = format!(
        "Sorry, I still have {open_max} messages of this chat to answer, so I cannot take more right now. (ref {})",
        inbound.turn
    );
    unasked(inbound, text, "busy", names)
}

/// What stands in the conversation beside a message that was only recorded. It is not sent.
pub fn history(inbound: &Inbound, names: &Names) -> Reply {
    let minutes = HISTORY_AFTER.as_secs() / 60;
    unasked(inbound, format!("(Not answered: it came more than {minutes} minutes late.)"), HISTORY, names)
}

/// What stands in the conversation beside a message whose answer a person does not want any more. It is not sent: the
/// person is told by the reply to that wish.
pub const STOPPED_TEXT: &str = "(Stopped.)";

/// The reply to a message that waited when its chat was stopped.
pub fn dropped(inbound: &Inbound, names: &Names) -> Reply {
    unasked(inbound, STOPPED_TEXT.to_owned(), STOPPED, names)
}

/// What a reply becomes that was known only after its turn was stopped.
pub fn stopped(reply: Reply) -> Reply {
    let summary = Summary { error: Some(STOPPED.to_owned()), response_chars: 0, ..reply.summary };
    Reply { text: STOPPED_TEXT.to_owned(), parts: vec![STOPPED_TEXT.to_owned()], summary, ..reply }
}

/// The reply to a message that no model was asked about.
fn unasked(inbound: &Inbound, text: String, error: &str, names: &Names) -> Reply {
    let summary = Summary {
        path: Some(Path::Provider),
        provider: names.provider.clone(),
        model: names.model.clone(),
        user_chars: inbound.text.chars().count() as u64,
        error: Some(error.to_owned()),
        ..Summary::default()
    };
    Reply { turn: inbound.turn, user_text: inbound.text.clone(), parts: vec![text.clone()], text, summary }
}

/// What a turn's record names even when nobody was asked.
#[derive(Clone, Debug)]
pub struct Names {
    /// The configured provider.
    pub provider: String,
    /// The configured model.
    pub model: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(turn: &Turn) -> &Answered {
        match turn.next() {
            Step::Reply(answered) => answered,
            step => panic!("not done: {step:?}"),
        }
    }

    #[test]
    fn a_message_is_asked_and_the_answer_is_the_reply() {
        let mut turn = Turn::begin("hello");
        assert_eq!(turn.next(), &Step::Ask);
        turn.on_answer(Ok("hi".into()), "rp-1");
        assert_eq!(
            (reply(&turn).text.as_str(), reply(&turn).path, turn.user_text("hello")),
            ("hi", Path::Provider, "hello")
        );
    }

    #[test]
    fn a_typed_tool_never_reaches_the_model() {
        let mut turn = Turn::begin(" /tool  time_now ");
        assert_eq!(turn.next(), &Step::Run { name: "time_now".into(), arguments: String::new() });
        turn.on_tool(Ok("[tool:time_now]\nnoon".into()));
        let answered = reply(&turn);
        assert_eq!(
            (answered.text.as_str(), answered.path, answered.tool.as_deref()),
            ("[tool:time_now]\nnoon", Path::Tool, Some("time_now"))
        );
        assert_eq!(turn.user_text("x"), "/tool time_now");
    }

    #[test]
    fn a_wrong_tool_is_answered_with_what_is_wrong() {
        assert_eq!(reply(&Turn::begin("/tool")).error, Some("tool"));
        let mut turn = Turn::begin("/tool none");
        turn.on_tool(Err("there is no tool 'none'".into()));
        assert_eq!(reply(&turn).text, "Tool error: there is no tool 'none'.");
    }

    #[test]
    fn a_model_gets_two_tools_and_sees_their_output() {
        let mut turn = Turn::begin("what time is it?");
        for step in 1..=TOOL_STEPS_MAX {
            turn.on_answer(Ok("/tool time_now".into()), "rp-1");
            turn.on_tool(Ok(format!("[tool:time_now]\n{step}")));
            assert_eq!(turn.next(), &Step::Ask);
            assert_eq!(turn.follow_up().len(), 2 * step + 1);
            assert_eq!(turn.follow_up()[2 * step - 1].content, format!("[tool:time_now args=]\n{step}"));
        }
        turn.on_answer(Ok("/tool time_now".into()), "rp-1");
        assert_eq!(reply(&turn).text, TOOL_LIMIT_REACHED);
    }

    #[test]
    fn a_failure_is_told_from_the_table_with_the_reference() {
        let mut turn = Turn::begin("hello");
        turn.on_answer(Err((Class::Auth, None)), "rp-7");
        assert!(reply(&turn).text.starts_with("Sorry, ") && reply(&turn).text.ends_with("(ref rp-7)"));
        assert_eq!(reply(&turn).error, Some("auth"));
    }

    #[test]
    fn a_wait_that_is_known_is_told_in_place_of_a_guess() {
        let told = |class, seconds: u64| apology(class, Some(Duration::from_millis(seconds * 1000 - 1)), "rp-7");
        let problem = "Sorry, the model's provider has a problem right now. Please try again in about";
        assert_eq!(told(Class::Server, 30), format!("{problem} 30 seconds. (ref rp-7)"));
        assert_eq!(told(Class::Server, 1), format!("{problem} 1 second. (ref rp-7)"));
        assert_eq!(told(Class::Server, 200), format!("{problem} 4 minutes. (ref rp-7)"));
        assert!(told(Class::Quota, 80_000).ends_with("look at it. Please try again in about 23 hours. (ref rp-7)"));
        assert!(!apology(Class::Server, Some(Duration::ZERO), "rp-7").contains("about"));
    }
}
