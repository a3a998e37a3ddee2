//! FC-5, the provider's rows: everything a network and a server can do to a page and to a stream. Each cell says what
//! the server does and which class the attempt has; for every cell holds that it ends by its deadline, and that no
//! part of an answer and no word of upstream is in what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::clock::Clock;
use rusty_pinch::base::id::TurnId;
use rusty_pinch::base::message::{Message, Role};
use rusty_pinch::net::http_client::HttpClient;
use rusty_pinch::provider::openai::{OpenAi, Streams};
use rusty_pinch::provider::{Attempt, Completion, Prompt, Provider, ProviderError};
use rusty_pinch::sys::system_clock::SystemClock;

use super::cells::{ANSWER, Cell, Server, Want, cells};
use crate::support::cases::{Random, cases, say};
use crate::support::crew::judge_all;
use crate::support::fake_provider::UPSTREAM_CANARY;
use crate::support::raw_server::RawServer;
use crate::support::waiting::{now, since};

/// How far behind its deadline an attempt may come back.
const LATE: Duration = Duration::from_secs(1);

/// What an attempt came to, and the pieces that were heard before.
pub struct Outcome {
    pub result: Result<Completion, ProviderError>,
    pub heard: String,
    pub took: Duration,
}

/// One attempt at `<url>/chat/completions`.
pub fn attempt(url: &str, streams: Streams, silence: Duration, total: Duration) -> Outcome {
    let clock = Arc::new(SystemClock::new());
    let deadline = clock.mono().after(total);
    let mut provider = OpenAi {
        url: format!("{url}/chat/completions"),
        model: "m".to_owned(),
        key: None,
        vendor_headers: Vec::new(),
        silence: Some(silence),
        temperature: None,
        streams,
        transport: Box::new(HttpClient::new(false)),
        clock,
    };
    let messages = [Message { role: Role::User, content: "Hello?".to_owned() }];
    let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
    let prompt = Prompt { turn, system: "Be brief.", messages: &messages, history: 0, ordinal: 1 };
    let (begun, mut heard) = (now(), String::new());
    let mut deltas = |text: &str| heard.push_str(text);
    let cancel = Cancel::new();
    let mut attempt = Attempt { deadline, cancel: &cancel, spare: 1, may_wait: true, deltas: &mut deltas };
    let result = provider.complete(&prompt, &mut attempt);
    Outcome { result, heard, took: since(begun) }
}

#[test]
fn every_fault_of_a_network_has_its_class_and_ends_by_its_deadline() {
    let mut random = Random::for_test("every_fault_of_a_network");
    let mut work = Vec::new();
    for _ in 0..cases(1, 20) {
        work.extend(cells(&mut random));
    }
    let count = work.len();
    let wrong =
        judge_all(work, |cell| judge(cell).map_err(|problem| format!("{} ({:?}): {problem}", cell.name, cell.streams)));
    say(&format!("{count} cells"));
    assert!(count >= 90, "{count} cells");
    assert!(wrong.is_empty(), "seed {}: {} of {count} cells:\n{}", random.seed, wrong.len(), wrong.join("\n"));
}

fn judge(cell: &Cell) -> Result<(), String> {
    let server = match &cell.server {
        Server::Acts(acts) => Some(RawServer::start(acts.clone())),
        Server::Url(_) => None,
    };
    let url = match &cell.server {
        Server::Url(url) => url,
        Server::Acts(_) => server.as_ref().map_or("", |server| server.url()),
    };
    let outcome = attempt(url, cell.streams, cell.silence, cell.deadline);
    let mut problems = Vec::new();
    match (&outcome.result, &cell.want) {
        (Ok(done), Want::Answer) if done.text == ANSWER => {}
        (Err(error), Want::Class(class)) if error.class == *class => {}
        (Err(error), Want::After(class, wait)) if error.class == *class && error.retry_after == *wait => {}
        (got, want) => problems.push(format!("{got:?} instead of {want:?}")),
    }
    if outcome.took > cell.deadline + LATE {
        problems.push(format!("took {:?}", outcome.took));
    }
    if !ANSWER.starts_with(&outcome.heard) {
        problems.push(format!("heard {:?}", outcome.heard));
    }
    let shown = outcome.result.map_or_else(|error| format!("{error} {error:?}"), |_| String::new());
    if shown.contains(UPSTREAM_CANARY) || shown.contains("answer,") {
        problems.push(format!("shows what upstream said: {shown}"));
    }
    let asked = server.map_or(0, |server| server.request_count());
    if asked > 1 {
        problems.push(format!("asked {asked} times"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// P8 over a real connection: the server's bytes end after the first `cut` of them, by FIN or by RST.
#[test]
fn a_stream_cut_anywhere_on_the_wire_is_never_delivered_in_part() {
    use super::cells::{close_delimited, with_length};
    use crate::support::fake_provider::stream;
    use crate::support::raw_server::Act;
    let mut random = Random::for_test("a_stream_cut_anywhere");
    let cuts = cases(200, 2000);
    let (mut whole, mut none) = (0, 0);
    for number in 0..cuts {
        let body = stream(ANSWER);
        let response = if random.chance(500) { with_length(&body) } else { close_delimited(&body) };
        let reason = body.find("\"stop\"").expect("it says why it ends");
        let end = response.len() - body.len() + reason + body[reason..].find('\n').expect("a line ends");
        // Every stretch of the response has its cuts, and every run has others.
        let cut = (number * response.len() + random.index(response.len())) / cuts;
        let script =
            vec![Act::Send(response[..cut].to_vec()), if random.chance(500) { Act::Reset } else { Act::HalfClose }];
        let server = RawServer::start(script);
        let outcome = attempt(server.url(), Streams::Counted, Duration::from_secs(5), Duration::from_secs(20));
        match outcome.result {
            Ok(done) => {
                assert!(cut >= end && done.text == ANSWER, "seed {}: cut at {cut}: {:?}", random.seed, done.text);
                whole += 1;
            }
            Err(error) => {
                assert_eq!(error.class.name(), "stream_cut", "seed {}: cut at {cut}", random.seed);
                none += 1;
            }
        }
    }
    say(&format!("{cuts} cuts: {none} without an answer, {whole} after the end of the text"));
    assert!(none > cuts / 3, "{none} of {cuts}");
}
