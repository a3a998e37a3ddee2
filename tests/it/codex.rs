//! The accounts of Codex and the commands about them, with programs in the place of Codex that say which account they
//! are, and what they are asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusty_pinch::base::clock::Clock;
use rusty_pinch::sys::system_clock::SystemClock;
use serde_json::{Value, json};

use crate::support::cases::Random;
use crate::support::command::run;
use crate::support::fake_provider::FakeProvider;
use crate::support::scene::Scene;
use crate::support::waiting::{now, since, until};
use crate::support::world::World;

/// Programs that misbehave.
mod misbehaving;

/// What a well-behaved program prints around its answer, for `/bin/sh`.
const ANSWER: &str = r#"answer() {
  printf '{"type":"thread.started","thread_id":"x"}\n{"type":"turn.started"}\n'
  printf '{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"%s"}}\n' "$1"
  printf '{"type":"turn.completed","usage":{"input_tokens":5,"output_tokens":2}}\n'
}
fail() {
  printf '{"type":"thread.started","thread_id":"x"}\n{"type":"turn.failed","error":{"message":"%s"}}\n' "$1"
  exit 1
}
"#;

/// Writes a program in the place of Codex. It can be looked at, and runs `script` for a prompt on standard input.
pub fn stand_in(world: &mut World, script: &str) -> PathBuf {
    let program = world.path("codex-stand-in");
    let looks = "[ \"$1\" = exec ] || exit 0";
    fs::write(&program, format!("#!/bin/sh\n{looks}\n{ANSWER}{script}\n")).expect("it is our folder");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it is our file");
    world.set("RUSTY_PINCH_PROVIDER", "codex");
    world.unset("RUSTY_PINCH_MODEL");
    world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    program
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).map(|file| file.permissions().mode() & 0o777).unwrap_or_default()
}

/// The reply of one `run`, or the class of its failure.
fn ask(world: &World) -> String {
    let before = world.all_events("turn").len();
    let finished = world.run(&["run", "--message", "hello"]);
    let turns = world.all_events("turn");
    assert_eq!(turns.len(), before + 1, "{finished:?}");
    match turns[before]["error"].as_str() {
        None => finished.stdout.trim_end().to_owned(),
        Some(class) => class.to_owned(),
    }
}

#[test]
fn the_account_with_the_largest_share_left_is_used_over_processes() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nanswer \"$CODEX_HOME $CODEX_API_KEY $3 $4\"");
    let homes = ["a", "b"].map(|name| world.path("homes").join(name));
    let [a, b] = homes.clone().map(|home| home.display().to_string());
    world.set("RUSTY_PINCH_CODEX_ACCOUNTS", &format!("a|KEY_OF_A|2|model-a|{a}; b|KEY_OF_B|4||{b}"));
    for (name, value) in
        [("KEY_OF_A", "sk-canary-of-account-a"), ("KEY_OF_B", "sk-canary-of-account-b"), ("OPENAI_API_KEY", "sk-other")]
    {
        world.set(name, value);
    }
    let mut used = Vec::new();
    for _ in 0..6 {
        let said = ask(&world);
        // Its own key is hidden from the reply, whatever the program says.
        assert!(!said.contains("canary") && !said.contains("sk-other"), "{said}");
        let is_a = said.starts_with(&a);
        assert!(said.contains(if is_a { "--model model-a" } else { "--model gpt-5-codex" }), "{said}");
        used.push(if is_a { "a" } else { "b" });
    }
    assert_eq!(used.concat(), "abbabb");
    assert_eq!(ask(&world), "rate_limited");
    let file = world.data().join("provider/codex.json");
    let modes = [&homes[0], &homes[1], &file.parent().expect("a folder").to_path_buf(), &file];
    assert_eq!(modes.map(|path| mode_of(path)), [0o700, 0o700, 0o700, 0o600]);
    // What cannot be read is kept aside, told, and no reason not to answer.
    fs::write(&file, "{\"a\":").expect("it is our folder");
    assert!(ask(&world).starts_with(&a));
    let told = world.all_events("storage_error");
    assert!(told.len() == 1 && told[0]["error"].as_str().is_some_and(|error| error.contains("kept as")), "{told:?}");
}

#[test]
fn processes_that_run_at_once_count_together() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nanswer ok");
    let mut processes: Vec<_> =
        (0..8).map(|number| world.start(&["run", "--session", &number.to_string(), "--message", "x"])).collect();
    for process in &mut processes {
        assert_eq!(process.wait_within(Duration::from_secs(60)).code(), Some(0), "{:?}", process.last_words());
    }
    let status: Value = serde_json::from_str(&run(&world, &["codex", "status"], 0).stdout).expect("JSON");
    assert_eq!(status["accounts"][0]["used_requests"], 8, "{status:#}");
}

#[test]
fn a_failed_account_is_left_alone_and_told_once() {
    let mut world = World::new();
    let script = "cat > /dev/null\necho x >> \"$HOME/runs-$CODEX_API_KEY\"\n\
        [ \"$CODEX_API_KEY\" = good ] && answer fine && exit\n\
        fail 'unexpected status 401 Unauthorized: upstream-canary'";
    stand_in(&mut world, script);
    world.set("RUSTY_PINCH_CODEX_ACCOUNTS", "first|KEY_OF_FIRST;second|KEY_OF_SECOND");
    world.set("KEY_OF_FIRST", "bad");
    world.set("KEY_OF_SECOND", "good");
    let home = world.path("home");
    let runs = |key: &str| fs::read_to_string(home.join(format!("runs-{key}"))).unwrap_or_default().lines().count();
    // The person notices nothing, and the account is not tried again, by no process.
    for _ in 0..3 {
        assert_eq!(ask(&world), "fine");
    }
    assert_eq!((runs("bad"), runs("good")), (1, 3));
    let told = world.all_events("codex_account");
    let [event] = told.as_slice() else { panic!("told once: {told:?}") };
    assert_eq!((&event["account"], &event["state"]), (&json!("first"), &json!("auth")));
    assert_eq!(event["remedy"], "put a valid key into KEY_OF_FIRST");
    let doctor = world.run(&["doctor"]).stdout;
    assert!(doctor.contains("codex account first is not used: auth"), "{doctor}");
    // Another key is another account.
    world.set("KEY_OF_FIRST", "worse");
    assert_eq!((ask(&world).as_str(), runs("worse")), ("fine", 1));
    world.set("KEY_OF_FIRST", "good");
    assert_eq!(ask(&world), "fine");
    assert_eq!(world.all_events("codex_account").last().map(|event| event["state"].clone()), Some(json!("ready")));
    // All of them: no run at all, and the class that says so.
    world.set("KEY_OF_FIRST", "bad");
    world.set("KEY_OF_SECOND", "bad");
    assert_eq!((ask(&world).as_str(), ask(&world).as_str(), runs("bad")), ("auth", "auth", 3));
    let everything = world.all_lines().join("\n");
    assert!(!everything.contains("upstream-canary"), "{everything}");
}

#[test]
fn a_quota_lasts_as_long_as_it_was_told() {
    let mut world = World::new();
    world.set("TZ", "UTC-5:30");
    let time = "$(TZ=UTC-5:30 date -d '+2 hours' '+%b %-dth, %Y %-I:%M %p')";
    stand_in(
        &mut world,
        &format!("cat > /dev/null\nfail \"You\u{2019}ve hit your usage limit. Visit x or try again at {time}.\""),
    );
    assert_eq!((ask(&world).as_str(), ask(&world).as_str()), ("quota", "quota"));
    let kept = fs::read(world.data().join("provider/codex.json")).expect("it was written");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    let until = kept["default"]["refusal"]["until"].as_u64().expect("a time");
    let status = world.run(&["codex", "status"]).stdout;
    let minutes = until.saturating_sub(SystemClock::new().wall().0) / 60_000;
    assert!((118..=121).contains(&minutes), "{minutes} {kept}");
    assert!(status.contains("\"healthy\": false"), "{status}");
}

#[test]
fn the_environment_is_exactly_what_codex_needs() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nenv > \"$HOME/environment\"\nanswer ok");
    for name in ["CODEX_API_KEY", "LANG", "TZ", "SSL_CERT_FILE", "https_proxy", "NO_PROXY"] {
        world.set(name, "x");
    }
    for name in ["OPENAI_API_KEY", "RUSTY_PINCH_API_KEY", "MY_SECRET", "LD_PRELOAD", "EDITOR", "RUST_LOG"] {
        world.set(name, "canary");
    }
    world.unset("LD_PRELOAD");
    assert_eq!(ask(&world), "ok");
    let environment = fs::read_to_string(world.path("home/environment")).expect("it was noted");
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // A shell adds these to its own environment.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    names.sort_unstable();
    let wanted =
        ["CODEX_API_KEY", "HOME", "LANG", "NO_PROXY", "PATH", "RP_CHILD_TOKEN", "SSL_CERT_FILE", "TZ", "https_proxy"];
    assert_eq!(names, wanted);
}

#[test]
fn an_account_has_one_run_at_a_time() {
    let mut scene = Scene::new("an_account_has_one_run_at_a_time");
    let script = "cat > /dev/null\n\
        mkdir \"$CODEX_HOME/runs\" || echo x >> \"$HOME/overlaps\"\n\
        echo x >> \"$CODEX_HOME/count\"\nsleep 0.2\nrmdir \"$CODEX_HOME/runs\"\nanswer ok";
    stand_in(&mut scene.world, script);
    let homes = ["a", "b"].map(|name| scene.world.path(name));
    let accounts = format!("a||||{};b||||{}", homes[0].display(), homes[1].display());
    scene.world.set("RUSTY_PINCH_CODEX_ACCOUNTS", &accounts);
    (1..=6).for_each(|chat| drop(scene.telegram.say(chat, "hello")));
    let process = scene.start_polling();
    until("six answers", || scene.telegram.sent_count() == 6);
    scene.stop(process);
    assert!(!scene.world.path("home/overlaps").exists(), "two runs of one account");
    let turns = scene.world.all_events("turn");
    assert!(turns.len() == 6 && turns.iter().all(|turn| turn["status"] == "ok"), "{turns:#?}");
    let counts = homes.map(|home| fs::read_to_string(home.join("count")).unwrap_or_default().lines().count());
    assert!(counts.iter().sum::<usize>() == 6 && counts.iter().all(|count| *count > 1), "{counts:?}");
}

#[test]
fn a_missing_login_is_told_at_the_start_with_the_command_to_run() {
    let mut scene = Scene::new("a_missing_login_is_told_at_the_start_with_the_command_to_run");
    let program = stand_in(&mut scene.world, "cat > /dev/null\necho x >> \"$HOME/runs\"\nanswer ok");
    let script = fs::read_to_string(&program).expect("it is there");
    let looks = "[ \"$1\" = login ] && echo x >> \"$HOME/looks\" && exit 1\n[ \"$1\" = exec ]";
    fs::write(&program, script.replacen("[ \"$1\" = exec ]", looks, 1)).expect("it is our file");
    for start in 0..2 {
        let process = scene.start_polling();
        until("it was looked at", || scene.world.path("home/looks").exists());
        if start == 0 {
            until("it is told", || !scene.world.all_events("codex_account").is_empty());
        }
        scene.stop(process);
    }
    let told = scene.world.all_events("codex_account");
    assert_eq!(told.len(), 1, "{told:?}");
    let remedy = told[0]["remedy"].as_str().unwrap_or_default();
    let command = format!("CODEX_HOME={} {} login", scene.world.path("home/.codex").display(), program.display());
    assert!(told[0]["state"] == "auth" && remedy.contains(&command), "{remedy}");
    let begun = now();
    assert_eq!(ask(&scene.world), "auth");
    assert!(since(begun) < Duration::from_secs(5) && !scene.world.path("home/runs").exists());
}

#[test]
fn the_commands_of_codex_print_what_scripts_read() {
    let mut world = World::new();
    let program = stand_in(
        &mut world,
        "input=$(cat)\ncase \"$input\" in *fail*) fail \"Quota exceeded.\";; esac\nanswer \"$CODEX_API_KEY: done\"",
    );
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world.set("RUSTY_PINCH_CODEX_ACCOUNTS", "a|KEY|10|m;b|GONE");
    world.set("KEY", "sk-canary-of-account-a");
    let json = |arguments: &[&str], code| -> Value {
        let finished = run(&world, arguments, code);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("no JSON: {finished:?}"))
    };
    let account = |at: usize| json(&["codex", "status"], 0)["accounts"][at].clone();
    let unknown = json!({
        "api_key_env": "KEY", "healthy": true, "id": "a", "last_error": null, "last_healthcheck_at": null,
        "max_requests": 10, "model": "m", "remaining_percent": 100, "used_requests": 0,
    });
    assert_eq!(account(0), unknown);
    let checks = json(&["codex", "healthcheck"], 0);
    let gone = json!({"account_id": "b", "healthy": false, "message": "its key variable GONE is not set"});
    assert_eq!(checks, json!({"checks": [{"account_id": "a", "healthy": true, "message": "ok"}, gone]}));
    let made = json(&["codex", "generate", "--prompt", "write"], 0);
    assert_eq!((&made["account_id"], &made["status"]), (&json!("a"), &json!("executed")));
    assert!(made["output"].as_str().is_some_and(|text| text.ends_with(": done") && !text.contains("canary")), "{made}");
    assert!(made["latency_ms"].is_u64() && made["task_id"].as_str().is_some_and(|id| id.starts_with("rp-")), "{made}");
    let failed = run(&world, &["codex", "generate", "--prompt", "fail"], 1);
    assert!(failed.stdout.is_empty() && failed.stderr.iter().any(|line| line.contains("codex: quota")), "{failed:?}");
    let (a, b) = (account(0), account(1));
    assert_eq!((&a["used_requests"], &a["remaining_percent"], &a["healthy"]), (&json!(1), &json!(90), &json!(false)));
    assert!(a["last_healthcheck_at"].is_string() && a["last_error"].as_str().is_some_and(|it| it.starts_with("quota")));
    assert_eq!((&b["healthy"], &b["last_error"]), (&json!(false), &json!("its key variable GONE is not set")));
    fs::remove_file(program).expect("it is our file");
    let checks = json(&["codex", "healthcheck"], 0);
    assert_eq!(checks["checks"][0]["message"], "the codex program could not be started: entity not found");
    run(&world, &["codex", "drain-one"], 2);
}

/// A stop comes while a turn waits for the one account: the turn stays open and is answered by the next worker.
#[test]
fn a_turn_that_waits_for_an_account_does_not_hold_up_a_stop() {
    let mut scene = Scene::new("a_turn_that_waits_for_an_account_does_not_hold_up_a_stop");
    let gate = scene.world.path("gate");
    stand_in(&mut scene.world, &format!("cat > /dev/null\n[ -e {0} ] || exec sleep 600\nanswer ok", gate.display()));
    scene.world.set("RUSTY_PINCH_DRAIN_SECS", "2");
    (1..=3).for_each(|chat| drop(scene.telegram.say(chat, "hello")));
    let process = scene.start_polling();
    until("a run", || scene.world.survivors().len() > 1);
    scene.stop(process);
    assert_eq!(scene.world.survivors(), Vec::<String>::new());
    fs::write(&gate, "").expect("it is our folder");
    let process = scene.start_polling();
    until("three answers", || scene.telegram.sent_count() == 3);
    scene.stop(process);
}

/// `codex` first and a server second.
fn with_a_server(world: &mut World) -> FakeProvider {
    let server = FakeProvider::start(&mut Random::for_test("with_a_server"));
    world.unset("RUSTY_PINCH_PROVIDER");
    world.set("RUSTY_PINCH_PROVIDER_CHAIN", "codex,openai:two");
    world.set("RUSTY_PINCH_OPENAI_API_BASE", &server.url());
    world.set("RUSTY_PINCH_OPENAI_API_KEY", "key-of-the-second-0123456789");
    server
}

#[test]
fn a_run_that_hangs_gives_way_to_the_next_provider_and_is_counted() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nprintf '{\"type\":\"thread.started\"}\\n'\nexec sleep 600");
    let server = with_a_server(&mut world);
    world.set("RUSTY_PINCH_CODEX_TIMEOUT_SECS", "1");
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!((finished.code, server.asked_count()), (Some(0), 1), "{finished:?}");
    let retry = world.all_events("provider_retry");
    assert!(
        retry.iter().any(|event| event["error"].as_str().is_some_and(|it| it.starts_with("timeout_idle"))),
        "{retry:?}"
    );
    let stats = fs::read_to_string(world.data().join("provider/spending.json")).unwrap_or_default();
    assert!(stats.contains("\"estimated_tokens\":10"), "{stats}");
}

#[test]
fn a_new_phrase_of_codex_gives_way_to_the_next_provider() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nfail 'stream error: a phrase of a later codex'");
    let server = with_a_server(&mut world);
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!((finished.code, server.asked_count()), (Some(0), 1), "{finished:?}");
}

/// One run holds the only account; another chat is answered by the next provider meanwhile.
#[test]
fn a_busy_account_is_not_waited_for_if_another_provider_is_free() {
    let mut scene = Scene::new("a_busy_account_is_not_waited_for_if_another_provider_is_free");
    let gate = scene.world.path("gate");
    stand_in(
        &mut scene.world,
        &format!("cat > /dev/null\nuntil [ -e {0} ]; do sleep 0.1; done\nanswer ok", gate.display()),
    );
    let server = with_a_server(&mut scene.world);
    (1..=2).for_each(|chat| drop(scene.telegram.say(chat, "hello")));
    let process = scene.start_polling();
    until("the other answer", || scene.telegram.sent_count() == 1);
    assert_eq!(server.asked_count(), 1);
    fs::write(&gate, "").expect("it is our folder");
    until("two answers", || scene.telegram.sent_count() == 2);
    scene.stop(process);
    assert_eq!(server.asked_count(), 1);
}

/// A look that hangs gets what the turn can spare, and the health check says that there was no answer.
#[test]
fn looks_do_not_overrun_the_deadline_of_a_turn() {
    let mut world = World::new();
    let program = stand_in(&mut world, "cat > /dev/null\nfail 'Not logged in'");
    assert_eq!(ask(&world), "auth");
    let script = fs::read_to_string(&program).expect("it is there");
    fs::write(&program, script.replacen("|| exit 0", "|| exec sleep 600", 1)).expect("it is our file");
    let file = world.data().join("provider/codex.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).expect("it was written")).expect("JSON");
    kept["default"]["refusal"]["until"] = json!(1);
    fs::write(&file, kept.to_string()).expect("it is our folder");
    world.set("RUSTY_PINCH_TURN_DEADLINE_SECS", "6");
    assert_eq!(ask(&world), "auth");
    let turn = world.all_events("turn").pop().expect("a turn");
    assert!(turn["latency_ms"].as_u64().is_some_and(|took| took < 6_000), "{turn}");
    let checks = run(&world, &["codex", "healthcheck"], 0).stdout;
    assert!(checks.contains("\"healthy\": false") && checks.contains("codex did not answer in time"), "{checks}");
}

/// Codex hands on an environment of its own making to the model's commands.
#[test]
fn the_commands_of_the_model_carry_the_mark_of_their_run() {
    let mut world = World::new();
    stand_in(&mut world, "cat > /dev/null\nprintf '%s\\n' \"$@\" \"$RP_CHILD_TOKEN\" > \"$HOME/arguments\"\nanswer ok");
    assert_eq!(ask(&world), "ok");
    let noted = fs::read_to_string(world.path("home/arguments")).expect("it was noted");
    let token = noted.lines().last().expect("a token");
    let mark = format!("shell_environment_policy.set.RP_CHILD_TOKEN=\"{token}\"");
    assert!(token.len() == 16 && noted.lines().any(|line| line == mark), "{noted}");
}

#[test]
fn a_key_of_an_account_has_the_sources_and_the_checks_of_every_secret() {
    let mut world = World::new();
    stand_in(
        &mut world,
        "cat > /dev/null\n[ \"$CODEX_API_KEY\" = of-the-file ] && answer ok && exit\nfail 'Not logged in'",
    );
    world.set("RUSTY_PINCH_CODEX_ACCOUNTS", "a|KEY_OF_A");
    let file = world.path("key-of-a");
    fs::write(&file, "of-the-file\n").expect("it is our folder");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is our file");
    world.set("KEY_OF_A_FILE", &file.to_string_lossy());
    assert_eq!(ask(&world), "ok");
    world.set("KEY_OF_A", "of-the-process");
    assert_eq!(ask(&world), "ok");
    let doctor = world.run(&["doctor"]).stdout;
    assert!(
        doctor.contains("KEY_OF_A comes from the file named by its _FILE variable; environment has another"),
        "{doctor}"
    );
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("it is our file");
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(78), "{finished:?}");
}
