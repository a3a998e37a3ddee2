//! Contract §9: what the Telegram worker asks for, whom it answers, and how.

use serde_json::json;

use crate::contract::Decision::{Changed, Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row};
use crate::support::fake_provider::{Reply, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("9", "/bot<TOKEN>/getUpdates", "", Stays, Check(polls)),
    row("9", "timeout and offset", "", Stays, Check(polls)),
    row("9", "GET with a query", "", Changed("§14 a POST with JSON"), Check(polls)),
    row("9", "no limit, no allowed_updates", "", Changed("weakness: the server keeps what another program had asked for"), Tests(&["a_worker_introduces_itself_and_asks_for_messages_only"])),
    row("9", "a poll lasts at most max(REQUEST_TIMEOUT, POLL_TIMEOUT + 5)", "", Changed("§16 ten seconds more than the poll"), Tests(&["what_does_not_do_what_it_seems_to_say_is_named"])),
    row("9", "the base is hard-coded", "", Changed("§15.10 CHANNELS_TELEGRAM_API_BASE"), Check(polls)),
    row("9", "the offset starts at 0 and follows what was looked at", "", Changed("weakness: messages were lost; it follows what is on disk"), Tests(&["an_offset_never_passes_a_message_that_is_not_on_disk"])),
    row("9", "a backlog is worked off in full", "", Stays, Tests(&["a_backlog_is_worked_off"])),
    row("9", "poll_interval_ms after an empty batch", "", Gone("§16 accepted without effect"), Tests(&["a_server_that_does_not_hold_the_poll_is_not_asked_in_a_loop"])),
    row("9", "after an error every 500 ms, for ever", "", Changed("weakness: 11 polls in 6 s; now at most twelve a minute"), Tests(&["storms_are_met_with_at_most_twelve_requests_a_minute"])),
    row("9", "401, 409", "", Changed("weakness: nobody was told; the channel parks"), Tests(&["a_rejected_token_parks_until_somebody_says_look_again", "one_conflict_is_normal_and_three_are_another_program"])),
    row("9", "message", "", Stays, Check(plain_message)),
    row("9", "edited_message", "", Changed("weakness: an edit was answered again; it is not asked for"), Tests(&["only_messages_of_people_are_answered"])),
    row("9", "text, else caption, trimmed", "", Stays, Check(captions)),
    row("9", "blank text is ignored", "", Stays, Tests(&["only_messages_of_people_are_answered"])),
    row("9", "bots are ignored", "", Stays, Tests(&["only_messages_of_people_are_answered"])),
    row("9", "channel posts, callbacks, stickers, media without words are ignored", "", Stays, Tests(&["only_messages_of_people_are_answered"])),
    row("9", "/start is a message like any other", "/start", Changed("weakness: it asked a model; help is said at once"), Check(start_word)),
    row("9", "no topics", "", Changed("weakness: answers went to the wrong topic"), Tests(&["a_forum_topic_is_answered_in_its_topic"])),
    row("9", "a group shares one session", "", Stays, Check(group)),
    row("9", "the allow list matches the sender or the chat exactly", "", Stays, Tests(&["the_allowlist_names_senders_and_chats", "an_entry_matches_the_sender_or_the_chat_exactly"])),
    row("9", "an empty allow list is everyone", "", Changed("§15.1 nobody"), Tests(&["an_empty_allowlist_answers_nobody_and_polls_on"])),
    row("9", "* in the allow list", "", Changed("§15.1 everyone"), Tests(&["an_entry_matches_the_sender_or_the_chat_exactly"])),
    row("9", "who is rejected hears nothing", "", Stays, Check(rejected)),
    row("9", "a rejection is not logged", "", Changed("§15.1 the operator has to see the id"), Check(rejected)),
    row("9", "without `from` the sender is the chat", "", Changed("weakness: nobody can be told from anybody; ignored"), Check(no_sender)),
    row("9", "POST sendMessage {chat_id, text}", "", Stays, Check(reply)),
    row("9", "chat_id is a text", "", Changed("§14 a number, which the API takes as well"), Check(reply)),
    row("9", "no parse_mode, no reply_to", "", Stays, Check(reply)),
    row("9", "a reply is trimmed", "", Stays, Check(reply)),
    row("9", "a blank reply is `(empty response)`", "", Changed("weakness: a blank answer is a failure of the provider, and told as one"), Check(blank_reply)),
    row("9", "parts of 3500 characters, cut anywhere", "", Changed("§14 at most 4096 UTF-16 units, cut between words"), Tests(&["a_long_reply_is_cut_between_words_and_nothing_is_lost", "emoji_are_never_cut"])),
    row("9", "the first part that fails ends the reply", "", Changed("weakness: replies were lost"), Tests(&["an_ambiguous_send_is_repeated_once_with_a_mark"])),
    row("9", "the answer of sendMessage must say ok", "", Stays, Tests(&["a_send_is_unknown_only_if_it_may_have_been_done"])),
    row("9", "one turn at a time over all chats", "", Changed("weakness: a slow chat held up everyone; one at a time within a chat"), Tests(&["a_slow_chat_delays_another_by_less_than_a_tenth_of_a_second"])),
    row("9", "a failed turn is told in the chat", "", Changed("§14 in our words"), Tests(&["a_failing_provider_is_told_in_our_words"])),
    row("9", "--max-messages counts answers, also failed ones", "2", Stays, Check(bounded)),
    row("9", "--max-messages leaves the offset unconfirmed", "", Changed("weakness: the last messages were answered again"), Tests(&["a_bounded_run_stops_by_itself_and_leaves_no_repeat_behind"])),
    row("9", "SIGINT waits for the poll", "", Changed("§15.8 within the grace time"), Tests(&["a_stop_inside_a_long_poll_is_immediate"])),
    row("9", "SIGTERM kills", "", Changed("§15.8 a graceful stop"), Tests(&["a_stop_inside_a_long_poll_is_immediate", "stops_at_random_instants_are_in_time"])),
];

fn polls(_: &Row) {
    let scene = Scene::new("contract polls");
    let process = scene.start_polling();
    let posted = scene.telegram.say(7, "hello");
    scene.until_answered();
    scene.stop(process);
    let polls = scene.telegram.calls("getUpdates");
    assert_eq!(polls[0].body["timeout"], 30);
    let confirmed = polls.iter().filter_map(|poll| poll.body["offset"].as_i64()).max();
    assert_eq!(confirmed, Some(posted.update + 1));
    assert!(!TOKEN.is_empty(), "the fake knows no other bot: a call under another token is refused");
}

fn plain_message(_: &Row) {
    assert_eq!(asked_and_sent("hello"), (1, 1));
}

fn start_word(row: &Row) {
    assert_eq!(asked_and_sent(row.want), (0, 1));
}

/// How often a provider is asked about a message, and how many replies come; it is in the session of its chat.
fn asked_and_sent(text: &str) -> (usize, usize) {
    let scene = Scene::new("contract message");
    let process = scene.start_polling();
    scene.telegram.say(7, text);
    scene.until_answered();
    scene.stop(process);
    assert!(!scene.world.session(7).is_empty());
    (scene.provider.asked_about(text), scene.telegram.sent_count_to(7))
}

fn captions(_: &Row) {
    let scene = Scene::new("contract caption");
    let process = scene.start_polling();
    let from = json!({ "id": 7, "is_bot": false, "first_name": "Ada" });
    scene.telegram.post(7, json!({ "from": from, "photo": [], "caption": "  words \n" }));
    scene.telegram.until_sent_to(7, 1);
    scene.stop(process);
    assert_eq!(scene.provider.asked_about("words"), 1);
}

fn group(_: &Row) {
    let scene = Scene::new("contract group");
    let process = scene.start_polling();
    scene.telegram.say_as(-100_500, 7, "one");
    scene.telegram.until_sent_to(-100_500, 1);
    scene.telegram.say_as(-100_500, 8, "two");
    scene.telegram.until_sent_to(-100_500, 2);
    scene.stop(process);
    let kept = String::from_utf8(scene.world.session(-100_500)).expect("text");
    assert!(kept.contains("\"one\"") && kept.contains("\"two\""), "{kept}");
}

fn rejected(_: &Row) {
    let mut scene = Scene::new("contract rejected");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "8");
    let process = scene.start_polling();
    scene.telegram.say(7, "hello");
    let denied = process.until_event("channel_denied");
    scene.telegram.until_confirmed();
    scene.stop(process);
    assert_eq!((&denied["sender_id"], scene.telegram.sent_count()), (&json!("7"), 0));
}

fn no_sender(_: &Row) {
    let scene = Scene::new("contract sender");
    let process = scene.start_polling();
    scene.telegram.push_raw(|id| {
        let message = json!({ "message_id": 1, "date": 1, "chat": { "id": 7, "type": "private" }, "text": "hello" });
        json!({ "update_id": id, "message": message }).to_string()
    });
    scene.telegram.until_confirmed();
    scene.stop(process);
    assert_eq!(scene.provider.asked_count(), 0);
}

fn reply(_: &Row) {
    let scene = Scene::new("contract reply");
    scene.provider.rule(Rule::when("").reply(Reply::Text("  an *answer* \n".to_owned())));
    let process = scene.start_polling();
    scene.telegram.say(7, "hello");
    scene.telegram.until_sent(1);
    scene.stop(process);
    let body = &scene.telegram.sent()[0].body;
    assert_eq!((&body["chat_id"], &body["text"]), (&json!(7), &json!("an *answer*")));
    assert!(body.get("parse_mode").is_none() && body.get("reply_to_message_id").is_none(), "{body}");
    assert!(body.get("reply_parameters").is_none(), "{body}");
}

fn blank_reply(_: &Row) {
    let scene = Scene::new("contract blank");
    scene.provider.rule(Rule::when("").reply(Reply::Text(" \n ".to_owned())));
    let process = scene.start_polling();
    scene.telegram.say(7, "hello");
    scene.telegram.until_sent(1);
    scene.stop(process);
    let text = scene.telegram.sent()[0].text.clone();
    assert!(text.starts_with("Sorry, "), "{text}");
}

fn bounded(row: &Row) {
    let scene = Scene::new("contract bounded");
    scene.provider.rule(Rule::when("bad").status(400));
    scene.telegram.say(7, "bad");
    scene.telegram.say(8, "good");
    let finished = scene.world.run(&["channels", "telegram", "--max-messages", row.want]);
    assert_eq!((finished.code, scene.telegram.sent_count()), (Some(0), 2), "{finished:?}");
    assert!(finished.stdout.is_empty());
}
