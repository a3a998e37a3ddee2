//! SIGHUP, case by case: what is put to use, what is kept and why, and what a change may not do. Seen to fail: a token of another
//! bot, a key sent to the server that it does not belong to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::secrets::{KEY, TOKEN_NAME, in_file, last_key, put, reload, reloads, smoke};
use crate::support::cases::Random;
use crate::support::checker::Rules;
use crate::support::fake_http::Wait;
use crate::support::fake_provider::{API_KEY, FakeProvider, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;
use crate::support::waiting::{Gate, until};

const NEW_KEY: &str = "sk-new-canary-0123456789abcdef";
const NEW_TOKEN: &str = "7000000001:AAAnotherCanaryToken-0123456789_abcdefgh";

#[test]
fn a_call_under_way_ends_with_the_old_key_and_the_next_one_has_the_new() {
    let mut scene = Scene::new("under way");
    let file = in_file(&mut scene.world, KEY, API_KEY);
    let gate = Gate::closed();
    scene.provider.rule(Rule::when("slow").after(Wait::Until(gate.clone())));
    let process = scene.start_polling();
    scene.telegram.say(1, "slow question");
    scene.provider.until_asked_about("slow question");
    put(&file, NEW_KEY);
    let told = reload(&process, KEY);
    assert_eq!((&told["status"], &told["source"]), (&"ok".into(), &"the file named by its _FILE variable".into()));
    smoke(&scene, 2);
    assert_eq!(last_key(&scene), NEW_KEY);
    gate.open();
    scene.until_answered();
    let told = reload(&process, KEY);
    assert_eq!(told["status"], "unchanged");
    scene.stop(process);
    assert_eq!(scene.judge(Rules::CALM).notices, 0);
}

/// What the server says of a new key, and what becomes of it: only a refusal counts against it.
#[test]
fn only_a_refusal_of_the_server_keeps_the_old_key() {
    let mut scene = Scene::new("only a refusal");
    let file = in_file(&mut scene.world, KEY, API_KEY);
    let process = scene.start_polling();
    let keys = |round: usize| format!("sk-of-round-{round}-canary-0123456789");
    let mut used = API_KEY.to_owned();
    // With 403 and others that may be about the key, the key in use is asked about, too: if it may not ask this, either,
    // nothing is known.
    for (round, (status, for_all, is_used, probe)) in [
        (200, true, true, "ok"),
        (401, true, false, "refused"),
        (403, false, false, "refused"),
        (403, true, true, "failed"),
        (400, false, false, "refused"),
        (400, true, true, "failed"),
        (404, true, true, "failed"),
        (429, false, true, "failed"),
        (503, true, true, "failed"),
    ]
    .into_iter()
    .enumerate()
    {
        scene.provider.answer_probes(status, if for_all { None } else { Some(&used) });
        put(&file, &keys(round));
        let told = reload(&process, KEY);
        let status = if is_used { "ok" } else { "rejected" };
        assert_eq!((&told["status"], &told["probe"]), (&status.into(), &probe.into()), "{told}");
        if is_used {
            used = keys(round);
        }
        smoke(&scene, 1);
        assert_eq!(last_key(&scene), used);
    }
    scene.stop(process);
}

#[test]
fn what_does_not_fit_is_rejected_in_a_sentence_and_nobody_is_asked() {
    let mut scene = Scene::new("does not fit");
    let (key, token) = (in_file(&mut scene.world, KEY, API_KEY), in_file(&mut scene.world, TOKEN_NAME, TOKEN));
    let settings = put(&scene.world.path("home/.env"), "RUSTY_PINCH_HISTORY_LINES=20\n");
    let process = scene.start_polling();
    let (asked, probed) = (scene.telegram.count_of("getMe"), scene.provider.probed().len());
    let other = FakeProvider::start(&mut Random::from_seed(7));
    let elsewhere = format!("RUSTY_PINCH_CODEX_CLI_BIN=x\n{KEY}=sk-unused-canary-0123456789\n");
    let cases: [(&str, &str, &str, &str, &str); 7] = [
        ("", TOKEN, "", KEY, "is empty"),
        ("two words of canary", TOKEN, "", KEY, "one word"),
        (API_KEY, "no token of canary", "", TOKEN_NAME, "BotFather"),
        (API_KEY, "7000000002:AACanaryOfAnotherBot-0123456789_abcdefgh", "", TOKEN_NAME, "another bot"),
        (NEW_KEY, TOKEN, "RUSTY_PINCH_WORKERS=many\n", KEY, "RUSTY_PINCH_WORKERS (env file, line 1) must be"),
        (NEW_KEY, TOKEN, "RUSTY_PINCH_MODEL='x\n", KEY, "never closes"),
        (API_KEY, TOKEN, &elsewhere, KEY, ""),
    ];
    for (new_key, new_token, lines, name, part) in cases {
        put(&key, new_key);
        put(&token, new_token);
        put(&settings, lines);
        let told = reload(&process, name);
        let status = if part.is_empty() { "unchanged" } else { "rejected" };
        assert!(told["status"] == status && told["reason"].as_str().unwrap_or_default().contains(part), "{told}");
        smoke(&scene, 1);
        assert_eq!(last_key(&scene), API_KEY);
    }
    assert_eq!((scene.telegram.count_of("getMe"), scene.provider.probed().len()), (asked, probed));
    scene.stop(process);
    // A new key for a new server goes to neither before a restart. Variables of a process cannot change, so this one comes
    // from the env file.
    let line = |base: &str| format!("RUSTY_PINCH_COMPATIBLE_API_BASE={base}\n");
    scene.world.unset("RUSTY_PINCH_COMPATIBLE_API_BASE");
    put(&key, API_KEY);
    put(&settings, &line(&scene.provider.url()));
    let process = scene.start_polling();
    put(&key, NEW_KEY);
    put(&settings, &line(&other.url()));
    let told = reload(&process, KEY);
    assert!(told["reason"].as_str().unwrap_or_default().contains("the server it is sent to has changed"), "{told}");
    smoke(&scene, 1);
    scene.stop(process);
    assert_eq!((other.server().connection_count(), scene.provider.probed().len()), (0, probed));
    assert!(scene.world.all_lines().iter().all(|line| !line.contains("anary")));
}

/// BotFather ends the old token at once: what people write waits, and nothing is lost or repeated.
#[test]
fn a_new_token_of_the_same_bot_ends_the_parking_and_loses_nothing() {
    let mut scene = Scene::new("token");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS", "1");
    let file = in_file(&mut scene.world, TOKEN_NAME, TOKEN);
    let process = scene.start_polling();
    smoke(&scene, 1);
    scene.telegram.revoke(NEW_TOKEN);
    scene.telegram.say(1, "while the token is dead");
    process.until_event("channel_parked");
    // Looking again without a new token changes nothing.
    assert_eq!(reload(&process, TOKEN_NAME)["status"], "unchanged");
    put(&file, "7000000001:AAMistypedCanaryToken-0123456789_abcdefgh");
    let told = reload(&process, TOKEN_NAME);
    assert_eq!((&told["status"], &told["probe"]), (&"rejected".into(), &"refused".into()), "{told}");
    put(&file, NEW_TOKEN);
    let told = reload(&process, TOKEN_NAME);
    assert_eq!((&told["status"], &told["probe"]), (&"ok".into(), &"ok".into()), "{told}");
    scene.until_answered();
    until("it is said", || !process.events("channel_resumed").is_empty());
    smoke(&scene, 1);
    scene.stop(process);
    assert_eq!(scene.judge(Rules::CALM).notices, 0);
    assert!(scene.world.all_lines().iter().all(|line| !line.contains("anaryToken")));
}

/// A key that others know: it is withdrawn first, and turns fail without asking until the new one is there.
#[test]
fn a_new_key_is_asked_at_once_although_the_old_one_is_left_alone() {
    let mut scene = Scene::new("withdrawn");
    let file = in_file(&mut scene.world, KEY, API_KEY);
    let process = scene.start_polling();
    smoke(&scene, 1);
    scene.provider.accept(&[NEW_KEY]);
    for (number, text) in ["rejected", "left alone"].iter().enumerate() {
        scene.telegram.say(2, text);
        scene.telegram.until_sent_to(2, number + 1);
    }
    assert_eq!((scene.provider.asked_about("rejected"), scene.provider.asked_about("left alone")), (1, 0));
    put(&file, NEW_KEY);
    assert_eq!(reload(&process, KEY)["status"], "ok");
    smoke(&scene, 1);
    scene.stop(process);
    let errors: Vec<_> = scene.world.all_events("turn").iter().map(|turn| turn["error"].clone()).collect();
    assert_eq!(errors, [serde_json::Value::Null, "auth".into(), "auth".into(), serde_json::Value::Null]);
}

/// There is no free question about a key of Codex: it is used from the next run on.
#[test]
fn a_key_of_codex_is_replaced_for_the_next_run() {
    let mut scene = Scene::new("codex key");
    let program = scene.world.path("home/codex");
    let answer = r#"{"type":"item.completed","item":{"type":"agent_message","text":"reply #1"}}"#;
    let end = r#"{"type":"turn.completed","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = exec ] || exit 0\ncat > /dev/null\necho \"$CODEX_API_KEY\" >> \"$HOME/keys\"\nprintf '%s\\n' '{answer}' '{end}'\n"
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    scene.world.set("RUSTY_PINCH_PROVIDER", "codex");
    scene.world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    let file = in_file(&mut scene.world, "CODEX_API_KEY", "sk-codex-old-0123456789");
    let process = scene.start_polling();
    smoke(&scene, 1);
    put(&file, "sk-codex-new-0123456789");
    let told = reload(&process, "CODEX_API_KEY");
    assert_eq!((&told["status"], &told["probe"]), (&"ok".into(), &"failed".into()), "{told}");
    smoke(&scene, 1);
    scene.stop(process);
    let keys = fs::read_to_string(scene.world.path("home/keys")).expect("it ran");
    assert_eq!(keys, "sk-codex-old-0123456789\nsk-codex-new-0123456789\n");
}

/// A server that does not answer the free question holds up nobody, and not the end, either.
#[test]
fn a_question_that_hangs_holds_up_no_turn_and_no_stop() {
    let mut scene = Scene::new("hangs");
    let file = in_file(&mut scene.world, KEY, API_KEY);
    let gate = Gate::closed();
    let process = scene.start_polling();
    scene.provider.delay_probes(Wait::Until(gate.clone()));
    put(&file, NEW_KEY);
    process.signal(rustix::process::Signal::HUP);
    until("the question is asked", || !scene.provider.probed().is_empty());
    smoke(&scene, 1);
    assert_eq!(last_key(&scene), API_KEY);
    assert_eq!(reloads(&process, KEY).len(), 0);
    scene.stop(process);
    gate.open();
}
