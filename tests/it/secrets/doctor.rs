//! `doctor --secrets` and `doctor --probe`. Seen to fail: a question without `--probe`, a probe that waits as long as the server does.

use std::time::Duration;

use serde_json::Value;

use crate::secrets::{KEY, TOKEN_NAME, in_file, put};
use crate::support::fake_http::{Answer, FakeHttp, Shape, Wait};
use crate::support::fake_provider::API_KEY;
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{now, since};
use crate::support::world::World;

/// The exit code, and the checks of probes as `id level sentence; remedy`.
fn probed(world: &World) -> (Option<i32>, Vec<String>) {
    let finished = world.run(&["doctor", "--probe", "--json"]);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = report["checks"].as_array().expect("a list").iter().map(|check| {
        let [id, level, sentence, remedy] = ["id", "level", "sentence", "remedy"].map(|field| text(&check[field]));
        format!("{id} {level} {sentence}; {remedy}")
    });
    (finished.code, lines.filter(|line| line.starts_with("probe.")).collect())
}

#[track_caller]
fn says(world: &World, code: i32, parts: &[&str]) {
    let (exit, lines) = probed(world);
    for part in parts {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} is missing: {lines:#?}");
    }
    assert_eq!(exit, Some(code), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("anary")), "{lines:#?}");
}

#[test]
fn servers_are_asked_only_when_somebody_wants_it_and_each_problem_has_a_remedy() {
    let mut scene = Scene::new("probe");
    let bridge = FakeHttp::start("bridge", |_| Answer::new(426, "Upgrade Required"));
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true");
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &format!("ws://{}/ws?x=canary", bridge.address()));
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "4915110001");
    for arguments in [&["doctor"][..], &["doctor", "--json"], &["doctor", "--secrets"]] {
        assert_eq!(scene.world.run(arguments).code, Some(0));
    }
    let servers = [scene.telegram.server(), scene.provider.server(), &bridge];
    assert_eq!(servers.map(FakeHttp::connection_count), [0, 0, 0], "nobody is asked without --probe");
    scene.telegram.say(5, "it waits");
    says(
        &scene.world,
        0,
        &[
            "probe.provider ok compatible accepts the key",
            "probe.telegram ok Telegram accepts the token of bot 7000000001",
            "probe.webhook ok no webhook is set; 1 updates wait",
            "probe.bridge ok the WhatsApp bridge can be reached; whether it accepts the token",
        ],
    );
    assert_eq!(scene.telegram.count_of("getUpdates"), 0, "a probe takes no message away");
    scene.telegram.set_webhook(Some("https://example.org/hook"));
    says(&scene.world, 1, &["probe.webhook error a webhook is set", "1 updates wait for it; remove the bot's webhook"]);
    scene.telegram.set_webhook(None);
    scene.provider.accept(&["another"]);
    says(
        &scene.world,
        1,
        &["probe.provider error compatible rejects the key (status 401); put a valid one into RUSTY"],
    );
    scene.provider.answer_probes(404, None);
    says(&scene.world, 0, &["probe.provider ok compatible answers, and has no list of models (status 404)"]);
    scene.telegram.revoke("7000000001:AAAnotherToken-0123456789_abcdefghijk");
    says(&scene.world, 1, &["probe.telegram error Telegram rejects the token (getMe: status 401); set a valid"]);
    // Nobody listens there any more.
    drop(bridge);
    scene.world.set("RUSTY_PINCH_COMPATIBLE_API_BASE", "http://127.0.0.1:9/v1");
    scene.world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", "http://127.0.0.1:9");
    says(
        &scene.world,
        1,
        &[
            "probe.provider error compatible cannot be asked: no connection; check RUSTY_PINCH_API_BASE",
            "probe.telegram error Telegram cannot be asked (getMe: no connection)",
            "probe.bridge error the WhatsApp bridge cannot be reached: no connection; start the bridge",
        ],
    );
}

/// 5 s for each answer, all at once; 10 s leave room for a busy machine.
#[test]
fn servers_that_say_nothing_are_waited_for_together_and_not_for_long() {
    let mut scene = Scene::new("silent probe");
    let bridge = FakeHttp::start("bridge", |_| Answer::new(200, "").shaped(Shape::Stall));
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true");
    scene.world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &format!("ws://{}", bridge.address()));
    scene.telegram.fault(Fault::stall());
    scene.provider.delay_probes(Wait::For(Duration::from_secs(60)));
    let begun = now();
    says(
        &scene.world,
        1,
        &["probe.provider error compatible cannot be asked", "probe.telegram error", "probe.bridge ok"],
    );
    let took = since(begun);
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn the_table_of_secrets_tells_source_file_shadow_and_what_to_do_and_no_part_of_a_value() {
    let mut scene = Scene::new("table of secrets");
    let world = &mut scene.world;
    let file = in_file(world, KEY, "k1-canary-of-the-file-0123456789abcdef");
    world.set(KEY, "k2-canary-of-the-process");
    let lines = format!("{KEY}=k3-canary-of-the-line\nRUSTY_PINCH_HEALTH_TOKEN=k4-canary-of-health\n");
    put(&world.path("home/.env"), &lines);
    world.unset(TOKEN_NAME);
    std::fs::create_dir(world.path("credentials")).expect("a folder");
    put(&world.path("credentials").join(TOKEN_NAME), TOKEN);
    world.set("CREDENTIALS_DIRECTORY", &world.path("credentials").to_string_lossy());
    world.set("OPENROUTER_API_KEY", API_KEY);
    let text = world.run(&["doctor", "--secrets"]);
    let json = world.run(&["doctor", "--secrets", "--json"]);
    assert_eq!((text.code, json.code), (Some(0), Some(0)), "{text:?} {json:?}");
    let table: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let row = |name: &str| {
        let rows = table["secrets"].as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {table:#}")).clone()
    };
    let key = row(KEY);
    assert_eq!(key["source"], "the file named by its _FILE variable");
    assert_eq!((&key["path"], &key["mode"]), (&file.to_string_lossy().as_ref().into(), &"600".into()));
    assert_eq!(key["shadowed"], serde_json::json!(["environment", "env file, line 1"]));
    assert_eq!((&key["reloadable"], &key["after_a_change"]), (&true.into(), &"SIGHUP".into()));
    assert_eq!((&key["used_by"][0], &key["length"]), (&"compatible".into(), &"32 to 63 characters".into()));
    let token = row(TOKEN_NAME);
    assert_eq!((&token["source"], &token["reloadable"]), (&"systemd credential".into(), &false.into()));
    assert_eq!((&token["used_by"][0], &token["mode"]), (&"telegram".into(), &"600".into()));
    assert!(token["after_a_change"].as_str().is_some_and(|text| text.starts_with("restart needed")), "{token}");
    assert_eq!(row("RUSTY_PINCH_HEALTH_TOKEN")["source"], "env file, line 2");
    let other = row("OPENROUTER_API_KEY");
    assert_eq!((&other["used_by"], &other["reloadable"]), (&serde_json::json!([]), &false.into()));
    let fingerprint = key["fingerprint"].as_str().expect("text");
    assert!(fingerprint.len() == 8 && text.stdout.contains(&format!("  fingerprint: {fingerprint}\n")), "{text:?}");
    for value in ["k1-canary", "k2-canary", "k3-canary", "k4-canary", TOKEN, API_KEY] {
        // Of a token the first half is the bot's id, which everybody may know.
        let start = &value.split(':').next_back().unwrap_or(value)[..5];
        assert!(!text.stdout.contains(start) && !json.stdout.contains(start), "{start}");
    }
}

/// It is looked at when something is wrong, too.
#[test]
fn the_table_of_secrets_is_shown_while_something_does_not_fit() {
    let mut scene = Scene::new("unusable secrets");
    scene.world.set("RUSTY_PINCH_WORKERS", "many");
    let finished = scene.world.run(&["doctor", "--secrets"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.stdout.contains(&format!("{KEY}\n")) && finished.stderr.len() == 1, "{finished:?}");
    let refused = scene.world.run(&["doctor", "--secrets", "--probe"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// S8: an env file with secrets that everybody can read works, is told, and fails the strict.
#[test]
fn an_env_file_with_secrets_that_others_can_read_fails_the_strict() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    let file = put(&world.path("home/.env"), &format!("RUSTY_PINCH_OPENAI_API_KEY={API_KEY}\n"));
    for (mode, code) in [(0o600, 0), (0o640, 0), (0o644, 1), (0o622, 1)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        assert_eq!(world.run(&["doctor"]).code, Some(0));
        let strict = world.run(&["doctor", "--strict", "--quiet"]);
        assert_eq!((strict.code, strict.stdout.lines().count()), (Some(code), code as usize), "{mode:o}: {strict:?}");
        assert!(code == 0 || strict.stdout.contains("chmod"), "{strict:?}");
    }
}
