//! Days when the Bot API refuses: parks, storms, broken polls. Politeness is counted in requests per minute.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::cases::is_long_run;
use crate::support::checker::Rules;
use crate::support::fake_telegram::FakeTelegram;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{holds, until};
use crate::support::world::Process;

const REQUESTS_PER_MINUTE_MAX: usize = 12;

#[track_caller]
fn check_parked(scene: &Scene, process: &mut Process, reason: &str) {
    assert_eq!(process.until_event("channel_parked")["reason"], reason);
    let calls = scene.telegram.call_count();
    holds("a parked worker is up and silent", Duration::from_secs(1), || {
        process.is_running() && scene.telegram.call_count() == calls
    });
    assert!(calls <= 4, "{calls} calls before it parked");
}

#[test]
fn a_rejected_token_parks_until_somebody_says_look_again() {
    let scene = Scene::new("401");
    scene.telegram.fault(Fault::status(401, "Unauthorized"));
    let mut process = scene.start();
    check_parked(&scene, &mut process, "auth");
    scene.telegram.clear_faults();
    process.signal(Signal::HUP);
    scene.telegram.say(42, "back again");
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

#[test]
fn a_token_revoked_while_polling_parks() {
    let scene = Scene::new("401-later");
    let mut process = scene.start_polling();
    scene.telegram.fault(Fault::status(401, "Unauthorized").on("getUpdates"));
    scene.telegram.say(42, "before the end");
    scene.until_answered_but_not_confirmed();
    assert_eq!(process.until_event("channel_parked")["reason"], "auth");
    let calls = scene.telegram.count_of("getUpdates");
    holds("no poll", Duration::from_secs(1), || process.is_running() && scene.telegram.count_of("getUpdates") == calls);
    scene.stop(process);
}

#[test]
fn a_set_webhook_parks_and_is_not_removed() {
    let scene = Scene::new("webhook");
    scene.telegram.set_webhook(Some("https://example.invalid/hook"));
    let mut process = scene.start();
    check_parked(&scene, &mut process, "webhook_set");
    assert!(scene.telegram.calls("deleteWebhook").is_empty(), "only an explicit flag removes a webhook");
    scene.telegram.set_webhook(None);
    process.signal(Signal::HUP);
    scene.telegram.say(42, "the hook is gone");
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

/// The server still holds our old poll after a restart and ends it with 409: no reason for alarm.
#[test]
fn a_single_conflict_is_no_reason_to_park() {
    let scene = Scene::new("409-once");
    let mut process = scene.start_polling();
    scene.telegram.interrupt_polls();
    until("the poll after the conflict", || scene.telegram.count_of("getUpdates") >= 2);
    scene.telegram.say(42, "still there");
    scene.until_answered();
    assert!(process.events("channel_parked").is_empty());
    assert!(process.is_running());
    scene.stop(process);
}

/// Each spoils one poll; nothing is lost or repeated.
#[test]
fn polling_survives_broken_answers() {
    let scene = Scene::new("broken-polls");
    let process = scene.start_polling();
    let faults = [
        Fault::reset(),
        Fault::lost_answer(),
        Fault::half_answer(),
        Fault::web_page(502),
        Fault::web_page(200),
        Fault::status(500, "Internal Server Error"),
        Fault::instead(200, &serde_json::json!({ "ok": false, "error_code": 500, "description": "odd" })),
        Fault::instead(200, &serde_json::json!({ "ok": true })),
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        scene.telegram.fault(fault.on("getUpdates").times(1));
        scene.telegram.say(42, &format!("wakes the poll before the fault {index}"));
        scene.until_answered();
    }
    scene.stop(process);
    scene.judge(Rules::CALM);
    assert!(!scene.world.all_events("channel_poll_error").is_empty());
}

/// One server in a storm, from the first call or from the first poll on.
struct Storm {
    name: String,
    scene: Scene,
    process: Process,
    calls_before: usize,
}

impl Storm {
    fn from_the_start(name: &str, fault: Fault) -> Storm {
        let scene = Scene::new(name);
        scene.telegram.fault(fault);
        let process = scene.start();
        Storm { name: format!("{name} from the start"), scene, process, calls_before: 0 }
    }

    fn while_polling(name: &str, fault: Fault) -> Storm {
        let scene = Scene::new(name);
        let process = scene.start_polling();
        let calls_before = scene.telegram.call_count();
        scene.telegram.fault(fault.on("getUpdates"));
        scene.telegram.interrupt_polls();
        Storm { name: format!("{name} while polling"), scene, process, calls_before }
    }

    /// Three conflicts in a row are another program; that takes longer than a short run lasts.
    fn reasons_to_park(&self) -> &'static [&'static str] {
        match &self.name[..3] {
            "401" => &["auth"],
            "409" if is_long_run() => &["conflict"],
            _ => &[],
        }
    }

    /// Requests in the busiest minute since the storm began.
    fn busiest_minute(&self) -> usize {
        let calls = self.scene.telegram.all_calls();
        let times: Vec<_> = calls[self.calls_before..].iter().map(|call| call.at).collect();
        let within =
            |first: usize| times[first..].iter().filter(|at| **at - times[first] < Duration::from_secs(60)).count();
        (0..times.len()).map(within).max().unwrap_or(0)
    }
}

/// C5. All storms at once; the window is a full minute and more only in long runs, but the limit is the minute's.
#[test]
fn storms_are_met_with_at_most_twelve_requests_a_minute() {
    let faults = || {
        [
            ("409", Fault::conflict()),
            ("401", Fault::status(401, "Unauthorized")),
            ("429", Fault::too_many_requests(5)),
            ("502", Fault::web_page(502)),
            ("reset", Fault::reset()),
        ]
    };
    let mut storms: Vec<Storm> = Vec::new();
    storms.extend(faults().into_iter().map(|(name, fault)| Storm::from_the_start(name, fault)));
    storms.extend(faults().into_iter().map(|(name, fault)| Storm::while_polling(name, fault)));
    let window = Duration::from_secs(if is_long_run() { 150 } else { 10 });
    holds("every worker stays up and polite", window, || {
        storms.iter_mut().all(|storm| storm.process.is_running() && storm.busiest_minute() <= REQUESTS_PER_MINUTE_MAX)
    });
    for storm in storms {
        assert!(storm.busiest_minute() > 0, "{}: nothing was asked at all", storm.name);
        for reason in storm.reasons_to_park() {
            let parked = storm.process.events("channel_parked");
            assert!(parked.iter().any(|event| event["reason"] == *reason), "{}: not parked for {reason}", storm.name);
        }
        storm.scene.stop(storm.process);
    }
}

/// The server says how long, and that is how long.
#[test]
fn a_poll_told_to_wait_waits() {
    let scene = Scene::new("429-poll");
    let process = scene.start_polling();
    scene.telegram.fault(Fault::too_many_requests(2).on("getUpdates").times(1));
    scene.telegram.say(42, "wakes the poll");
    until("the poll after the wait", || poll_after_refusal(&scene.telegram).is_some());
    let waited = poll_after_refusal(&scene.telegram).expect("it is there");
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(4), "asked again after {waited:?}");
    scene.until_answered();
    scene.stop(process);
    scene.judge(Rules::CALM);
}

fn poll_after_refusal(telegram: &FakeTelegram) -> Option<Duration> {
    let polls = telegram.calls("getUpdates");
    let refused = polls.iter().position(|poll| poll.status == 429)?;
    Some(polls.get(refused + 1)?.at - polls[refused].at)
}
