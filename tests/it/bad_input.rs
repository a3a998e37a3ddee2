//! FC-9: bad input through real sockets. Hundreds of texts and JSON values, made from tables, in every place where something foreign
//! comes in: updates, answers of a model, answers to a send. Each is answered, or passed over and counted; the worker lives, says
//! valid JSON only, and needs no more memory than before. (Frames of a bridge are in `whatsapp/hostile.rs`.)

mod texts;
mod values;

use serde_json::{Value, json};

use crate::support::cases::is_long_run;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::until;
use crate::support::world::Process;

/// Payloads of all tables, through all sockets.
const PAYLOADS_MIN: usize = 500;
/// Beside what the worker has at the start.
const MEMORY_KIB_MAX: usize = 32 * 1024;
/// Chats of payloads begin here, so that each has its own.
const CHAT: i64 = 10_000;
const BATCH: usize = 80;
/// So many bad answers in a row are no reason to leave a provider, or a server, alone.
const BAD_IN_A_ROW: usize = 3;

fn scene(name: &str) -> Scene {
    let mut scene = Scene::new(name);
    let metrics = scene.world.path("metrics.prom");
    scene.world.set("RUSTY_PINCH_METRICS_FILE", &metrics.to_string_lossy());
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "0");
    scene
}

/// The worker still works, and has not grown; everything it said is JSON.
fn is_well(scene: &Scene, process: Process, before: usize) {
    let sent = scene.telegram.sent_count_to(1);
    scene.telegram.say(1, "a good message at the end");
    scene.telegram.until_sent_to(1, sent + 1);
    scene.telegram.until_confirmed();
    let after = process.sample().expect("it runs").resident_kib;
    assert!(after < before + MEMORY_KIB_MAX, "{before} KiB, then {after} KiB");
    scene.stop(process);
    for line in scene.world.all_lines() {
        assert!(serde_json::from_str::<Value>(&line).is_ok_and(|line| line.is_object()), "{line:.300}");
        assert!(!line.contains("panicked at"), "{line:.300}");
    }
}

/// One update in a chat of its own; `FIELD` of it is another value.
fn update(number: usize, id: i64, field: &str, value: &str) -> String {
    let chat = CHAT + number as i64;
    let of = |name: &str, usual: String| if field == name { value.to_string() } else { usual };
    let user = format!(
        r#"{{"id":{},"is_bot":{},"first_name":{},"username":{}}}"#,
        of("from.id", chat.to_string()),
        of("from.is_bot", "false".into()),
        of("from.first_name", "\"Ada\"".into()),
        of("from.username", "\"ada\"".into()),
    );
    let place = format!(
        r#"{{"id":{},"type":{},"title":{}}}"#,
        of("chat.id", chat.to_string()),
        of("chat.type", "\"private\"".into()),
        of("chat.title", "\"\"".into()),
    );
    let message = format!(
        r#"{{"message_id":{},"date":{},"chat":{},"from":{},"text":{},"caption":{},"entities":{},"message_thread_id":{},"something_new":{}}}"#,
        of("message_id", number.to_string()),
        of("date", "1790000000".into()),
        of("chat", place),
        of("from", user),
        of("text", format!("\"payload {number}.\"")),
        of("caption", "\"\"".into()),
        of("entities", "[]".into()),
        of("message_thread_id", "7".into()),
        of("something_new", "1".into()),
    );
    format!(r#"{{"update_id":{id},"message":{}}}"#, of("message", message))
}

const FIELDS: [&str; 16] = [
    "message",
    "chat",
    "chat.id",
    "chat.type",
    "chat.title",
    "from",
    "from.id",
    "from.is_bot",
    "from.first_name",
    "from.username",
    "message_id",
    "date",
    "text",
    "caption",
    "entities",
    "something_new",
];

/// What became of updates, by the metrics that the worker leaves when it ends.
fn counted(scene: &Scene, outcome: &str) -> usize {
    let text = std::fs::read_to_string(scene.world.path("metrics.prom")).expect("it is left");
    let line = text.lines().find(|line| line.starts_with("rusty_pinch_updates_total{") && line.contains(outcome));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Sends all of them in batches, and a good message at the end. Each has one of four fates, which the worker counts, and what it
/// took up has a turn.
fn deliver(scene: &Scene, payloads: &[(String, String)]) {
    let process = scene.start_polling();
    let before = process.sample().expect("it runs").resident_kib;
    for (batch, pairs) in payloads.chunks(BATCH).enumerate() {
        for (index, (field, value)) in pairs.iter().enumerate() {
            let number = batch * BATCH + index;
            scene.telegram.push_raw(|id| update(number, id, field, value));
        }
        scene.telegram.until_confirmed();
    }
    is_well(scene, process, before);
    let [accepted, ignored, denied, refused] =
        ["accepted", "ignored", "denied", "refused"].map(|outcome| counted(scene, outcome));
    assert_eq!(accepted + ignored + denied + refused, payloads.len() + 1, "each has a fate");
    assert!(accepted > payloads.len() / 3 && denied == 0 && refused == 0, "{accepted} {denied} {refused}");
    // What a stop left is finished by the next worker.
    let process = scene.start_polling();
    until("what was taken up has its turn", || turns(scene).len() == accepted);
    scene.stop(process);
    let turns = turns(scene);
    assert!(turns.iter().all(|turn| turn["status"] == "ok" || turn["error"].is_string()), "{turns:?}");
}

fn turns(scene: &Scene) -> Vec<Value> {
    scene.world.all_events("turn")
}

#[test]
fn updates_with_any_value_in_any_place_are_answered_or_passed_over_with_a_reason() {
    let scene = scene("values");
    scene.provider.rule(Rule::when("").reply(Reply::Text("fine".into())));
    let values = values::whole();
    let pairs = FIELDS.iter().flat_map(|field| values.iter().map(|value| ((*field).to_string(), value.clone())));
    // Values that take megabytes stand in two places only.
    let pairs =
        pairs.filter(|(field, value)| value.len() < 100_000 || ["text", "something_new"].contains(&field.as_str()));
    let payloads: Vec<_> = pairs.collect();
    assert!(payloads.len() >= PAYLOADS_MIN, "{}", payloads.len());
    deliver(&scene, &payloads);
}

#[test]
fn texts_of_every_kind_are_answered() {
    let scene = scene("texts");
    scene.provider.rule(Rule::when("").reply(Reply::Text("fine".into())));
    let texts = texts::all();
    let fields = ["text", "caption", "from.first_name", "chat.title"];
    let pairs =
        fields.iter().flat_map(|field| texts.iter().map(|text| ((*field).to_string(), json!(text).to_string())));
    let payloads: Vec<_> = pairs.collect();
    deliver(&scene, &payloads);
}

/// A model that answers anything: what is text is delivered, whatever it is; what is none gets the sentence of its class.
#[test]
fn a_model_may_answer_anything() {
    let scene = scene("answers");
    let texts: Vec<String> = texts::all().into_iter().filter(|text| text.len() < 5_000).collect();
    let bodies = [values::whole(), values::broken()].concat();
    for (number, text) in texts.iter().enumerate() {
        scene.provider.rule(Rule::when(&format!("text {number}.")).reply(Reply::Text(text.clone())));
    }
    for (number, body) in bodies.iter().enumerate() {
        scene.provider.rule(Rule::when(&format!("body {number}.")).reply(Reply::Malformed(body.clone())));
    }
    let process = scene.start_polling();
    let before = process.sample().expect("it runs").resident_kib;
    for number in 0..texts.len() {
        scene.telegram.say(CHAT + number as i64, &format!("text {number}."));
    }
    for number in 0..bodies.len() {
        let chat = CHAT - 1 - number as i64;
        scene.telegram.say(chat, &format!("body {number}."));
        until(&format!("an answer to body {number}"), || scene.telegram.sent_count_to(chat) > 0);
        if number % BAD_IN_A_ROW == 0 {
            good(&scene);
        }
    }
    for number in 0..texts.len() {
        scene.telegram.until_sent_to(CHAT + number as i64, 1);
    }
    let turns = turns(&scene);
    let failed: Vec<_> = turns.iter().filter(|turn| turn["status"] == "error").collect();
    assert!(failed.iter().all(|turn| turn["error"].is_string()), "{turns:?}");
    assert!(failed.len() >= bodies.len(), "a body that is no completion is no answer");
    is_well(&scene, process, before);
}

/// People whom nothing bad happens to are answered: one of each sender.
fn good(scene: &Scene) {
    for chat in [2, 3] {
        let sent = scene.telegram.sent_count_to(chat);
        scene.telegram.say(chat, &format!("good {sent}"));
        scene.telegram.until_sent_to(chat, sent + 1);
    }
}

/// What a server says to a send: the message may have arrived, so it comes again with a mark or is given up; never a panic.
#[test]
fn a_server_may_answer_a_send_with_anything() {
    let scene = scene("sends");
    let values: Vec<String> = [values::whole(), values::broken()].concat();
    // Some of the refusals make a sender wait, so all of them are for a long run.
    let values = values.iter().filter(|value| value.len() < 100_000);
    let values: Vec<&String> = values.step_by(if is_long_run() { 1 } else { 6 }).collect();
    let process = scene.start_polling();
    let before = process.sample().expect("it runs").resident_kib;
    for (number, value) in values.iter().enumerate() {
        let (chat, status) = (CHAT + number as i64, [200, 400, 429, 502][number / 2 % 4]);
        let body = format!(
            r#"{{"ok":{},"error_code":{value},"description":{value},"result":{value},"parameters":{value}}}"#,
            status == 200
        );
        scene.telegram.fault(Fault::raw(status, &body).on("sendMessage").for_chat(chat).times(1));
        scene.telegram.say(chat, "hello");
        until(&format!("{value:.100} is taken for an answer"), || {
            scene.telegram.calls("sendMessage").iter().any(|call| call.body["chat_id"] == chat)
        });
        good(&scene);
    }
    // Their repeats are spaced; a person elsewhere is answered at once.
    is_well(&scene, process, before);
}
