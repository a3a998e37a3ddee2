//! Many people at once: everybody answered once and in order, nobody waits for somebody else's slow answer.
//!
//! Also the polite stop in every state (C8) and the search for secrets, both under load.

mod stops;

use std::time::Duration;

use crate::support::cases::{Random, cases, is_long_run, say};
use crate::support::checker::{Rules, Verdict};
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{API_KEY, Reply, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{Gate, now, since, until};
use crate::support::world::contains;

/// The worker refuses more than 32 open messages in a chat, at once, and so ahead of the answers that are due. It learns a
/// moment after the server that one is answered; the distance is for that moment.
const OPEN_PER_CHAT_MAX: usize = 24;

/// Posts `per_chat` messages in each chat, chats mixed, never more open in a chat than are accepted.
fn post_all(scene: &Scene, chats: usize, per_chat: usize, random: &mut Random) {
    let mut left: Vec<usize> = vec![per_chat; chats];
    let mut written = vec![0; chats];
    while left.iter().any(|left| *left > 0) {
        let chat = random.index(chats);
        let burst = left[chat].min(random.between(1, 3) as usize);
        let number = chat as i64 + 1;
        until("room in a chat", || scene.open_in(number) + burst < OPEN_PER_CHAT_MAX);
        for _ in 0..burst {
            scene.telegram.say(number, &format!("chat {number} message {}", written[chat]));
            written[chat] += 1;
        }
        left[chat] -= burst;
    }
}

#[test]
fn five_hundred_messages_of_fifty_chats_are_answered_once_and_in_order() {
    let scene = Scene::new("500 of 50");
    let started = now();
    let process = scene.start_polling();
    post_all(&scene, 50, 10, &mut scene.random.clone());
    scene.until_answered();
    let elapsed = since(started);
    scene.stop(process);
    let verdict = scene.judge(Rules::CALM);
    assert_eq!((verdict.messages, verdict.notices), (500, 0));
    assert_eq!(scene.telegram.sent_count(), 500);
    assert_eq!(scene.provider.asked_count(), 500, "one call of the provider each");
    say(&format!("500 messages of 50 chats in {elapsed:?}"));
}

/// C1. Also with answers of the provider that fail at first, so that a chat's turn takes several calls.
#[test]
fn random_latencies_never_change_the_order_in_a_chat() {
    let mut scene = Scene::new("C1");
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "5");
    let per_chat = cases(12, 1000);
    scene.provider.latency(0, 20);
    scene.provider.rule(Rule::when("").status(503).per_mille(20));
    let process = scene.start_polling();
    post_all(&scene, 16, per_chat, &mut scene.random.clone());
    scene.until_answered();
    scene.stop(process);
    let Verdict { messages, notices, .. } = scene.judge(Rules::CALM);
    say(&format!("C1: {messages} messages of 16 chats, 0 inversions, {notices} notices"));
}

/// From a message's arrival at the fake server to its answer there.
fn time_to_answer(scene: &Scene, chat: i64, text: &str) -> Duration {
    let count = scene.telegram.sent_count_to(chat);
    let posted = scene.telegram.say(chat, text);
    scene.telegram.until_sent_to(chat, count + 1);
    scene.telegram.sent_to(chat)[count].at - posted.at
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// C2. A slow call of 5 s also covers a repeated "typing" at 4 s.
#[test]
fn a_slow_chat_delays_another_by_less_than_a_tenth_of_a_second() {
    let scene = Scene::new("C2");
    let slow = Duration::from_secs(cases(5, 60) as u64);
    scene.provider.rule(Rule::when("slow").after(Wait::For(slow)));
    let process = scene.start_polling();
    let mut alone: Vec<Duration> = (0..20).map(|index| time_to_answer(&scene, 2, &format!("alone {index}"))).collect();
    let asked_at = now();
    scene.telegram.say(1, "slow question");
    scene.provider.until_asked_about("slow question");
    let mut beside = Vec::new();
    while since(asked_at) + Duration::from_millis(200) < slow {
        beside.push(time_to_answer(&scene, 2, &format!("beside {}", beside.len())));
        // People do not type back to back; the pause spreads the samples over the whole of the slow call.
        Gate::closed().wait(Duration::from_millis(30));
    }
    assert!(scene.telegram.sent_to(1).is_empty(), "the slow call was slow");
    scene.until_answered();
    let typing = scene.telegram.calls("sendChatAction").iter().filter(|call| call.body["chat_id"] == 1).count();
    scene.stop(process);
    scene.judge(Rules::CALM);
    // In the short form other tests run beside this one, and the tail is theirs.
    let rank = if is_long_run() { 99 } else { 50 };
    let (alone, worst) = (percentile(&mut alone, 50), percentile(&mut beside, rank));
    say(&format!("C2: alone p50 {alone:?}; beside a call of {slow:?} p{rank} {worst:?} of {}", beside.len()));
    assert!(worst.saturating_sub(alone) < Duration::from_millis(100), "p{rank} {worst:?}, alone {alone:?}");
    assert!(typing >= 2, "typing is repeated during a long turn: {typing}");
}

/// As many slow chats as can run at once, but one: the free worker serves everybody else.
#[test]
fn three_slow_chats_leave_a_worker_for_the_others() {
    let scene = Scene::new("three slow");
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
    let process = scene.start_polling();
    for chat in 1..=3 {
        scene.telegram.say(chat, &format!("slow question of {chat}"));
        scene.telegram.say(chat, &format!("impatient again {chat}"));
        scene.provider.until_asked_about(&format!("slow question of {chat}"));
    }
    let mut beside: Vec<Duration> =
        (0..20).map(|index| time_to_answer(&scene, 9, &format!("beside {index}"))).collect();
    gate.open();
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
    let worst = percentile(&mut beside, 50);
    assert!(worst < Duration::from_millis(200), "p50 {worst:?}");
}

/// Looks into the process list all the time while the worker runs, and everywhere else afterwards.
#[test]
fn secrets_are_nowhere_but_where_the_operator_put_them() {
    let scene = Scene::new("canary");
    scene.provider.rule(Rule::when("refused").status(401).times(1));
    scene.provider.rule(Rule::when("broken").reply(Reply::Malformed(format!("{{\"error\":\"{API_KEY}\"}}"))));
    scene.provider.rule(Rule::when("echo").reply(Reply::Text(format!("your key is {API_KEY} and {TOKEN}"))));
    scene.telegram.fault(Fault::status(500, &format!("cannot serve /bot{TOKEN}/getUpdates")).on("getUpdates").times(2));
    scene.telegram.fault(Fault::status(400, &format!("Bad Request: {TOKEN}")).on("sendMessage").for_chat(7).times(1));
    let process = scene.start();
    for (chat, text) in [(5, "hello"), (6, "broken"), (7, "to a bad chat"), (8, "echo")] {
        scene.telegram.say(chat, text);
    }
    scene.telegram.say(9, "/tool time_now");
    until("all but the last are asked", || scene.world.all_events("turn").len() == 5);
    // After this one nobody is asked any more.
    scene.telegram.say(6, "refused");
    until("the turns end", || scene.world.all_events("turn").len() == 6);
    // Not right after the start: the kernel may still be putting it there.
    let arguments = process.command_line();
    assert!(contains(&arguments, "telegram"), "the command line can be read");
    assert!(!contains(&arguments, TOKEN) && !contains(&arguments, API_KEY));
    assert_eq!(children_of(process.id()), Vec::<String>::new(), "a worker with such a provider has no child");
    scene.stop(process);
    for arguments in [&["stats"][..], &["doctor"], &["session", "--session", "telegram:8"]] {
        scene.world.run(arguments);
    }
    // The network is gone: errors of the transport name what they could not reach.
    let mut world = scene.world;
    world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", "http://127.0.0.1:9");
    let process = world.start(&["channels", "telegram"]);
    until("an error of the transport", || process.lines().iter().any(|line| line.contains("error")));
    drop(process);
    for secret in [TOKEN, API_KEY] {
        let secret_part = secret.split(':').next_back().unwrap_or(secret);
        for line in world.all_lines() {
            assert!(!contains(line.as_bytes(), secret_part), "standard error: {line}");
        }
        assert!(!contains(&world.all_stdout(), secret_part), "standard output");
        for (path, bytes) in world.files() {
            assert!(!contains(&bytes, secret_part), "{}", path.display());
        }
        for sent in scene.telegram.sent() {
            assert!(!contains(sent.text.as_bytes(), secret_part), "in a chat: {}", sent.text);
        }
    }
}

fn children_of(parent: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_string).collect()
}

/// More than fits in memory at once waits at the server, as after an outage of the network.
#[test]
fn a_backlog_is_worked_off() {
    let scene = Scene::new("backlog");
    for index in 0..300 {
        scene.telegram.say(1 + index % 20, &format!("message {index}"));
    }
    let process = scene.start();
    scene.until_answered();
    scene.stop(process);
    assert_eq!(scene.judge(Rules::CALM).messages, 300);
}

/// An SD card is not for counters: a worker writes them every ten seconds at most. Every write is another file.
#[test]
fn counters_are_not_written_with_every_turn() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new("counters");
    let process = scene.start_polling();
    let started = now();
    let file = scene.world.data().join("telemetry/latest.json");
    let mut files = std::collections::BTreeSet::new();
    for number in 1..=20 {
        scene.telegram.say(42, &format!("message {number}"));
        scene.telegram.until_sent_to(42, number);
        files.extend(std::fs::metadata(&file).map(|known| known.ino()));
    }
    let periods = since(started).as_secs() as usize / 10 + 2;
    scene.stop(process);
    assert!(files.len() <= periods, "{} writes in {:?}", files.len(), since(started));
}

/// A machine with little to give: 32 open files and 96 MiB of data are enough, also for a provider that answers with
/// more than anyone should accept.
#[test]
fn few_files_and_little_memory_are_enough() {
    let scene = Scene::new("little");
    scene.provider.rule(Rule::when("flood").reply(Reply::Oversize(64 << 20)));
    let limits = "ulimit -n 32 && ulimit -d 98304 && exec \"$0\" \"$@\"";
    let prefix: Vec<std::ffi::OsString> = ["/bin/sh", "-c", limits].map(Into::into).into();
    let process = scene.start_polling_through(&prefix);
    for number in 0..60 {
        scene.telegram.say(number % 20 + 1, &format!("message {number}"));
    }
    scene.telegram.say(90, "flood");
    scene.until_answered();
    scene.stop(process);
    let verdict = scene.judge(Rules::CALM);
    assert_eq!(verdict.notices, 1, "the flood was refused and told");
    assert!(scene.world.all_events("fatal").is_empty());
}
