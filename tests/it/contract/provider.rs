//! Contract §6 and §7: what goes to an HTTP provider and to the Codex program, and what is made of their answers.

use std::fs;

use serde_json::{Value, json};

use crate::contract::Decision::{Changed, Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row};
use crate::support::cases::Random;
use crate::support::fake_provider::{Asked, FakeProvider, Reply, Rule};
use crate::support::world::{Finished, World};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("6", "POST", "/v1/chat/completions", Stays, Check(path)),
    row("6", "Content-Type", "application/json", Stays, Check(header)),
    row("6", "Authorization", "Bearer sk-x", Stays, Check(header)),
    row("6", "User-Agent", "rusty-pinch/", Changed("§14 there is no curl"), Check(header)),
    row("6", "Accept", "application/json", Changed("§14 there is no curl"), Check(header)),
    row("6", "openrouter: HTTP-Referer", "https://rusty-pinch.local", Stays, Check(header)),
    row("6", "openrouter: X-Title", "Rusty Pinch", Stays, Check(header)),
    row("6", "others have no X-Title", "", Stays, Check(no_title)),
    row("6", "no redirects", "", Stays, Tests(&["redirects_are_not_followed_and_errors_keep_their_headers"])),
    row("6", "openai, openrouter, groq need a key", "", Stays, Check(key_needed)),
    row("6", "vllm and compatible need a key", "", Changed("§16 it is optional"), Check(key_optional)),
    row("6", "body: model", "fake-model", Stays, Check(body)),
    row("6", "body: temperature", "", Changed("§15.13 0.2 is not sent unless it is set"), Check(temperature)),
    row("6", "body: no max_tokens", "", Stays, Check(body)),
    row("6", "body: no stream", "", Changed("§16 STREAM: answers are read as they come"), Check(stream)),
    row("6", "body: the system message is first", "", Stays, Check(messages)),
    row("6", "body: the last 20 lines, then the text", "", Stays, Check(history)),
    row("6", "system: provider, model and tools with their usage", "", Changed("weakness: in a chain the named one may not be the one that answers; /model says who does"), Check(system)),
    row("6", "system: skills and how they are called", "", Gone("§15.17 no skills"), Check(system)),
    row("6", "system: the session id, and the text once more", "", Gone("§15.13 the text is the user message only"), Check(system)),
    row("6", "choices[0].message.content is text or parts", "", Stays, Tests(&["answers_are_read_tolerantly"])),
    row("6", "error: null", "", Changed("weakness: a null was an error"), Check(null_error)),
    row("6", "tool_calls without content", "malformed", Stays, Check(no_content)),
    row("6", "usage", "", Changed("§15.17 no metric; tokens are in the turn's record"), Check(usage)),
    row("6", "local and offline echo", "", Stays, Check(echo)),
    row("6", "any other provider fails at its first turn", "", Changed("§15.9 an error at start"), Tests(&["wrong_values_are_named_and_secrets_are_not_shown"])),
    row("6", "408", "retried", Stays, Check(status)),
    row("6", "409", "retried", Stays, Check(status)),
    row("6", "425", "retried", Stays, Check(status)),
    row("6", "429", "retried", Stays, Check(status)),
    row("6", "500", "retried", Stays, Check(status)),
    row("6", "502", "retried", Stays, Check(status)),
    row("6", "503", "retried", Stays, Check(status)),
    row("6", "529", "retried", Stays, Check(status)),
    row("6", "400", "permanent", Stays, Check(status)),
    row("6", "401", "permanent", Stays, Check(status)),
    row("6", "403", "permanent", Stays, Check(status)),
    row("6", "404", "permanent", Stays, Check(status)),
    row("6", "422", "permanent", Stays, Check(status)),
    row("6", "302", "permanent", Stays, Check(status)),
    row("6", "exits of curl: no connection, a cut, a timeout", "", Changed("§14 the same failures of our own client"), Tests(&["what_may_pass_is_tried_again_and_what_cannot_is_not", "every_failure_names_how_far_it_came"])),
    row("6", "200 with an error object", "", Changed("weakness: words of the message decided; now its codes do"), Tests(&["answers_are_read_tolerantly"])),
    row("6", "200 that is no JSON", "", Changed("weakness: never retried; a proxy's page may pass, so once"), Tests(&["what_may_pass_is_tried_again_and_what_cannot_is_not"])),
    row("6", "the delay doubles from the base to its limit", "", Changed("weakness: no jitter"), Tests(&["delays_are_spread_evenly_below_a_ceiling_that_doubles"])),
    row("6", "Retry-After", "", Changed("weakness: was ignored"), Tests(&["a_server_that_asks_for_patience_gets_it"])),
    row("6", "no circuit breaker", "", Changed("§13 a breaker and PROVIDER_CHAIN"), Tests(&["a_dead_provider_costs_few_requests", "a_failing_provider_is_followed_by_the_next_and_the_turn_says_so"])),
    row("6", "an error's text", "", Changed("§14 in our words, with the reference"), Tests(&["a_failing_provider_is_told_in_our_words", "upstream_text_is_not_part_of_an_error"])),

    row("7", "argv: CLI_BIN CLI_ARGS [MODEL_FLAG] MODEL", "ask --model gpt-5-codex", Stays, Check(arguments)),
    row("7", "argv: the prompt", "", Changed("weakness: everyone on the host could read it; it goes through standard input"), Check(standard_input)),
    row("7", "argv: PROMPT_FLAG", "", Gone("§16 without effect"), Check(arguments)),
    row("7", "argv of the default", "exec --skip-git-repo-check --model gpt-5-codex --json --ephemeral", Changed("§15.3 read as events, in a sandbox that only reads"), Check(default_arguments)),
    row("7", "the environment is inherited", "", Changed("weakness: every secret of ours was handed on"), Check(environment)),
    row("7", "the key under its own name", "", Changed("weakness: Codex did not look there; it is CODEX_API_KEY"), Check(environment)),
    row("7", "the prompt is the system text without history", "", Changed("weakness: no conversation was possible; the history is in the prompt"), Check(standard_input)),
    row("7", "exit 0: standard output, trimmed", "", Stays, Check(plain_answer)),
    row("7", "exit 0 without output", "", Changed("weakness: was '<empty codex output>'"), Check(no_output)),
    row("7", "another exit", "", Changed("§15.3 fails with a class, in our words"), Check(other_exit)),
    row("7", "no time limit", "", Changed("§16 CODEX_TIMEOUT_SECS is the deadline"), Check(deadline)),
    row("7", "no limit of the output", "", Changed("weakness: memory without bound"), Tests(&["a_flood_is_noticed"])),
    row("7", "pool: health checks, round robin, window of requests", "", Changed("§16 the account with the largest share left, counted over restarts"), Tests(&["the_account_with_the_largest_share_left_is_used_over_processes", "a_failed_account_is_left_alone_and_told_once"])),
    row("7", "queue: [codex:queued] replies", "", Gone("§15.3 a turn is answered or fails"), Check(other_exit)),
];

/// One question to a provider of this kind, and what it saw.
fn ask(kind: &str, settings: &[(&str, &str)], rules: Vec<Rule>, message: &str) -> (Finished, Vec<Asked>, World) {
    let provider = FakeProvider::start(&mut Random::from_seed(1));
    rules.into_iter().for_each(|rule| provider.rule(rule));
    let mut world = World::new();
    world.set_all(&[
        ("PROVIDER", kind),
        ("MODEL", "fake-model"),
        ("API_BASE", &provider.url()),
        ("API_KEY", "sk-x"),
        ("RETRY_BACKOFF_MS", "1"),
        ("RETRY_MAX_BACKOFF_MS", "2"),
    ]);
    settings.iter().for_each(|(name, value)| world.set(name, value));
    let finished = world.run(&["run", "--message", message]);
    (finished, provider.asked(), world)
}

#[track_caller]
fn asked_once(kind: &str, settings: &[(&str, &str)]) -> Asked {
    let (finished, mut asked, _) = ask(kind, settings, Vec::new(), "hello");
    assert!(finished.code == Some(0) && asked.len() == 1, "{finished:?}");
    asked.remove(0)
}

fn path(row: &Row) {
    assert_eq!(asked_once("compatible", &[]).path, row.want);
}

fn header(row: &Row) {
    let (kind, name) = row.name.split_once(": ").unwrap_or(("compatible", row.name));
    let asked = asked_once(kind, &[]);
    let value = asked.header(name).unwrap_or_else(|| panic!("{:?}", asked.headers));
    assert!(value == row.want || row.want.ends_with('/') && value.starts_with(row.want), "{value}");
}

fn no_title(_: &Row) {
    for kind in ["openai", "groq", "compatible", "vllm"] {
        let asked = asked_once(kind, &[]);
        assert_eq!((asked.header("X-Title"), asked.header("HTTP-Referer")), (None, None), "{kind}");
    }
}

fn key_needed(_: &Row) {
    for kind in ["openai", "openrouter", "groq"] {
        let (finished, asked, _) = ask(kind, &[("RUSTY_PINCH_API_KEY", "")], Vec::new(), "hello");
        assert_eq!((finished.code, asked.len()), (Some(1), 0), "{kind}");
    }
}

fn key_optional(_: &Row) {
    for kind in ["compatible", "vllm"] {
        assert_eq!(asked_once(kind, &[("RUSTY_PINCH_API_KEY", "")]).header("Authorization"), None);
    }
}

fn body(_: &Row) {
    let body = asked_once("compatible", &[]).body;
    assert_eq!(body["model"], "fake-model");
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["messages", "model", "stream", "stream_options"]);
}

fn stream(_: &Row) {
    let body = asked_once("compatible", &[]).body;
    assert_eq!((&body["stream"], &body["stream_options"]), (&json!(true), &json!({ "include_usage": true })));
    let body = asked_once("compatible", &[("RUSTY_PINCH_STREAM", "false")]).body;
    assert_eq!((body.get("stream"), body.get("stream_options")), (None, None));
}

fn temperature(_: &Row) {
    assert_eq!(asked_once("compatible", &[]).body.get("temperature"), None);
    assert_eq!(asked_once("compatible", &[("RUSTY_PINCH_TEMPERATURE", "0.2")]).body["temperature"], json!(0.2));
}

fn messages(_: &Row) {
    let body = asked_once("compatible", &[]).body;
    let roles: Vec<&Value> = body["messages"].as_array().expect("messages").iter().map(|m| &m["role"]).collect();
    assert_eq!(roles, ["system", "user"]);
}

fn history(_: &Row) {
    let (_, _, world) = ask("compatible", &[], Vec::new(), "first");
    let provider = FakeProvider::start(&mut Random::from_seed(2));
    let mut world = world;
    world.set("RUSTY_PINCH_API_BASE", &provider.url());
    for number in 0..11 {
        world.run(&["run", "--message", &format!("m{number}")]);
    }
    world.run(&["run", "--message", "last"]);
    let body = provider.asked().pop().expect("asked").body;
    let said = body["messages"].as_array().expect("messages");
    assert_eq!((said.len(), &said[21]["content"]), (22, &json!("last")), "{body}");
    assert_eq!((&said[1]["role"], &said[1]["content"]), (&json!("user"), &json!("m1")));
}

fn system(_: &Row) {
    let body = asked_once("compatible", &[]).body;
    let text = body["messages"][0]["content"].as_str().expect("a text");
    for part in ["/tool session_tail", "/tool time_now", "/tool model_info"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    for part in ["hello", "default", "skill", "compatible", "fake-model"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
}

fn null_error(_: &Row) {
    let body = json!({"error": null, "choices": [{"message": {"content": " fine "}}]}).to_string();
    let (finished, ..) = ask("compatible", &[], vec![Rule::when("").reply(Reply::Malformed(body))], "hello");
    assert_eq!(finished.stdout, "fine\n");
}

fn no_content(row: &Row) {
    let body = json!({"choices": [{"message": {"content": null, "tool_calls": []}}]}).to_string();
    let (finished, _, world) = ask("compatible", &[], vec![Rule::when("").reply(Reply::Malformed(body))], "hello");
    assert_eq!(finished.code, Some(1));
    assert_eq!(world.all_events("turn")[0]["error"], row.want);
}

fn usage(_: &Row) {
    let (_, _, world) = ask("compatible", &[], Vec::new(), "hello");
    let turn = world.all_events("turn").remove(0);
    assert_eq!((&turn["gen_ai.usage.input_tokens"], &turn["gen_ai.usage.output_tokens"]), (&json!(5), &json!(7)));
}

fn echo(_: &Row) {
    for kind in ["local", "offline"] {
        let (finished, _, world) = ask(kind, &[], Vec::new(), "it's");
        assert_eq!(finished.stdout, format!("[Rusty Pinch:{kind}:fake-model] Received 'it's'. history=0 messages.\n"));
        assert_eq!(world.all_events("turn")[0]["attempts"], 0);
    }
}

/// The name is the status of the first answer; every other one is good.
fn status(row: &Row) {
    let status = row.name.parse().expect("a status");
    let (finished, asked, _) = ask("compatible", &[], vec![Rule::when("").status(status).times(1)], "hello");
    let want = if row.want == "retried" { (Some(0), 2) } else { (Some(1), 1) };
    assert_eq!((finished.code, asked.len()), want, "{finished:?}");
}

/// A world whose Codex is this script; it runs in a folder where `said` and `asked` lie afterwards.
fn codex(script: &str, settings: &[(&str, &str)]) -> World {
    let mut world = World::new();
    let program = world.path("codex-stand-in");
    let note = "printf '%s\\n' \"$@\" > \"$HOME/arguments\"; env > \"$HOME/environment\"; cat > \"$HOME/input\"";
    fs::write(&program, format!("#!/bin/sh\n{note}\n{script}\n")).expect("written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
    world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    settings.iter().for_each(|(name, value)| world.set(name, value));
    world
}

const AS_TEXT: (&str, &str) = ("RUSTY_PINCH_CODEX_CLI_ARGS", "ask");

fn noted(world: &World, what: &str) -> String {
    fs::read_to_string(world.path("home").join(what)).unwrap_or_default()
}

/// The arguments of one run of Codex.
pub fn codex_arguments(settings: &[(&str, &str)]) -> Vec<String> {
    let world = codex("echo fine", settings);
    world.run(&["run", "--message", "hello"]);
    noted(&world, "arguments").lines().map(str::to_owned).collect()
}

fn arguments(_: &Row) {
    let prompt_flag = ("RUSTY_PINCH_CODEX_PROMPT_FLAG", "--prompt");
    assert_eq!(codex_arguments(&[AS_TEXT, prompt_flag]), ["ask", "--model", "gpt-5-codex"]);
}

fn default_arguments(row: &Row) {
    let arguments = codex_arguments(&[]).join(" ");
    assert!(arguments.starts_with(row.want) && arguments.contains("--sandbox read-only"), "{arguments}");
}

fn standard_input(_: &Row) {
    let world = codex("echo fine", &[AS_TEXT]);
    world.run(&["run", "--message", "my first question"]);
    world.run(&["run", "--message", "my second question"]);
    let (input, arguments) = (noted(&world, "input"), noted(&world, "arguments"));
    assert!(!arguments.contains("question"), "{arguments}");
    assert!(input.ends_with("my second question") && input.contains("my first question"), "{input}");
    assert!(input.contains("\nfine\n") && input.contains("/tool time_now"), "{input}");
}

fn environment(_: &Row) {
    let key = ("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "MY_KEY");
    let world = codex("echo fine", &[AS_TEXT, key, ("MY_KEY", "sk-mine"), ("OPENAI_API_KEY", "sk-other")]);
    world.run(&["run", "--message", "hello"]);
    let environment = noted(&world, "environment");
    assert!(environment.contains("CODEX_API_KEY=sk-mine\n") && environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("sk-other") && !environment.contains("MY_KEY="), "{environment}");
    let arguments = noted(&world, "arguments");
    assert!(!arguments.contains("sk-mine"), "everybody on the machine can read {arguments}");
}

fn plain_answer(_: &Row) {
    let world = codex("printf '\\n  two\\nlines \\n\\n'", &[AS_TEXT]);
    assert_eq!(world.run(&["run", "--message", "hello"]).stdout, "two\nlines\n");
}

fn no_output(_: &Row) {
    let world = codex("true", &[AS_TEXT]);
    let finished = world.run(&["run", "--message", "hello"]);
    assert!(finished.code == Some(1) && !finished.stdout.contains("empty codex output"), "{finished:?}");
}

fn other_exit(_: &Row) {
    let world = codex("echo upstream-canary >&2; exit 3", &[AS_TEXT]);
    let finished = world.run(&["run", "--message", "hello"]);
    let turn = world.all_events("turn").remove(0);
    assert!(finished.code == Some(1) && turn["error"].is_string(), "{finished:?}");
    assert!(!finished.stdout.contains("upstream-canary") && !finished.stdout.contains("queued"), "{finished:?}");
    assert!(finished.stdout.contains("(ref rp-"), "{finished:?}");
}

fn deadline(_: &Row) {
    let world = codex("exec sleep 60", &[AS_TEXT, ("RUSTY_PINCH_CODEX_TIMEOUT_SECS", "1")]);
    let finished = world.run(&["run", "--message", "hello"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(world.all_events("turn")[0]["error"], "timeout_first_byte");
}
