//! What is acknowledged, and when: offsets, ids that jump, repeats, updates that cannot be read, a full queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::checker::Rules;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::Rule;
use crate::support::scene::Scene;
use crate::support::waiting::{Gate, came_true, holds, lock, until};
use crate::support::world::folder_contains;

#[test]
fn an_offset_never_passes_a_message_that_is_not_on_disk() {
    let scene = Scene::new("offset");
    let texts: Arc<Mutex<HashMap<i64, String>>> = Arc::default();
    let missing: Arc<Mutex<Vec<i64>>> = Arc::default();
    {
        let (texts, missing) = (Arc::clone(&texts), Arc::clone(&missing));
        let journal = scene.world.data().join("journal");
        scene.telegram.on_forget(move |ids| {
            let texts = lock(&texts);
            let lost = ids.iter().filter(|id| !folder_contains(&journal, &texts[id]));
            lock(&missing).extend(lost);
        });
    }
    let process = scene.start_polling();
    let mut random = scene.random.clone();
    for index in 0..20 {
        let text = format!("probe-{:016x}", random.next());
        // Listed before it is posted: the worker may confirm it at once.
        let mut texts = lock(&texts);
        let posted = scene.telegram.say(index % 3 + 1, &text);
        texts.insert(posted.update, text);
    }
    scene.until_answered();
    scene.stop(process);
    assert_eq!(*lock(&missing), Vec::<i64>::new(), "confirmed, but not in the journal");
    assert_eq!(lock(&texts).len(), 20);
    scene.judge(Rules::CALM);
}

/// C4. A worker that keeps the highest id it has seen would ask for the old range for ever.
#[test]
fn ids_that_jump_lower_or_higher_lose_and_repeat_nothing() {
    let scene = Scene::new("id-reset");
    let process = scene.start_polling();
    for (index, id) in [None, Some(500), Some(2_000_000_000), Some(1_000_000)].into_iter().enumerate() {
        if let Some(id) = id {
            scene.telegram.jump_to(id);
        }
        scene.telegram.say(42, &format!("first after jump {index}"));
        scene.telegram.say(43, &format!("second after jump {index}"));
        scene.until_answered();
        scene.telegram.until_polling();
    }
    scene.stop(process);
    // The same while nobody is looking: the stored offset is then wrong at the first poll.
    for id in [7_000, 900_000_000] {
        scene.telegram.jump_to(id);
        scene.telegram.say(42, &format!("written during the stop before {id}"));
        let process = scene.start();
        scene.until_answered();
        scene.stop(process);
    }
    scene.judge(Rules::CALM);
}

/// C4. One update id names two messages, weeks apart; the message is what counts.
#[test]
fn a_reused_update_id_is_a_new_message_and_a_redelivered_message_is_not() {
    let scene = Scene::new("id-twice");
    let process = scene.start_polling();
    let first = scene.telegram.say(42, "first with this id");
    scene.until_answered();
    scene.telegram.until_polling();
    scene.telegram.jump_to(first.update);
    let second = scene.telegram.say(42, "second with this id");
    assert_eq!(first.update, second.update);
    scene.until_answered();
    scene.telegram.until_polling();
    scene.telegram.jump_to(first.update);
    scene.telegram.redeliver(&first);
    scene.telegram.redeliver(&second);
    scene.telegram.until_confirmed();
    scene.stop(process);
    // Remembered across a restart, too.
    let process = scene.start_polling();
    scene.telegram.redeliver(&first);
    scene.telegram.until_confirmed();
    scene.telegram.say(42, "third");
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
    assert_eq!(scene.telegram.sent_count(), 3);
}

/// Each is alone in front of a good message; the good one is answered and both are confirmed.
#[test]
fn an_undecodable_update_never_blocks_the_rest() {
    let scene = Scene::new("undecodable");
    let process = scene.start_polling();
    let head =
        r#""message_id":1,"date":1,"chat":{"id":9,"type":"private"},"from":{"id":9,"is_bot":false,"first_name":"A"}"#;
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let rows = [
        r#""message":{HEAD,"text":"\ud83d"}"#.to_string(),
        r#""message":{HEAD,"text":"\udc00 and more"}"#.to_string(),
        r#""message":{HEAD,"text":5}"#.to_string(),
        r#""message":{HEAD,"text":{"a":1}}"#.to_string(),
        r#""message":{HEAD,"text":"x","entities":NESTED}"#.replace("NESTED", &nested),
        r#""message":{"message_id":1,"date":1,"text":"no chat"}"#.to_string(),
        r#""message":{"message_id":1,"date":1,"chat":{"id":"9"},"text":"a chat id in quotes"}"#.to_string(),
        r#""message":{"message_id":1,"date":1,"chat":{"id":1e300},"text":"a huge chat id"}"#.to_string(),
        r#""message":{"date":1,"chat":{"id":9},"text":"no message id"}"#.to_string(),
        r#""message":[]"#.to_string(),
        r#""message":null"#.to_string(),
        r#""message":"text""#.to_string(),
        r#""something_new":{"a":[1,2,3]}"#.to_string(),
    ];
    for (index, row) in rows.iter().enumerate() {
        let text = format!("good after {index}");
        let row = row.replace("HEAD", head);
        scene.telegram.push_raw(|id| format!("{{\"update_id\":{id},{row}}}"));
        scene.telegram.say(42, &text);
        until(&format!("the message behind {row}"), || {
            scene.telegram.sent_to(42).iter().any(|sent| sent.text.ends_with(&text))
        });
        until(&format!("{row} is confirmed"), || scene.telegram.unconfirmed_count() == 0);
    }
    scene.stop(process);
    assert_eq!(scene.telegram.sent_to(42).len(), rows.len(), "each good message was answered once");
}

/// The same in one batch: what is good before and after is answered.
#[test]
fn a_bad_update_in_the_middle_of_a_batch_harms_no_other() {
    let scene = Scene::new("undecodable-batch");
    scene.telegram.say(42, "before");
    scene.telegram.push_raw(|id| {
        format!(r#"{{"update_id":{id},"message":{{"message_id":1,"date":1,"chat":{{"id":9}},"text":"\ud83d"}}}}"#)
    });
    scene.telegram.say(42, "after");
    let process = scene.start();
    scene.until_answered();
    scene.stop(process);
    let texts: Vec<String> = scene.telegram.sent_to(42).into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["reply #0 to before", "reply #1 to after"].map(str::to_string));
}

/// C3. The queue is full when 256 messages are open; the server keeps the rest until there is room.
#[test]
fn a_full_queue_stops_the_polling_and_everything_is_answered_later() {
    let scene = Scene::new("full-queue");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("").after(Wait::Until(gate.clone())));
    for index in 0..320 {
        scene.telegram.say(1 + index % 16, &format!("question {index}"));
    }
    let process = scene.start();
    until("the queue is full and nobody polls", || {
        scene.telegram.delivered_count() >= 200 && scene.telegram.pending_polls() == 0 && is_quiet(&scene)
    });
    let polls = scene.telegram.count_of("getUpdates");
    holds("no poll while the queue is full", Duration::from_secs(1), || {
        scene.telegram.count_of("getUpdates") == polls && scene.telegram.pending_polls() == 0
    });
    assert_eq!(scene.telegram.delivered_count(), 256, "open messages");
    gate.open();
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

/// Nothing new arrives at the server for a while.
fn is_quiet(scene: &Scene) -> bool {
    let polls = scene.telegram.count_of("getUpdates");
    !came_true(Duration::from_millis(300), || scene.telegram.count_of("getUpdates") != polls)
}
