//! Checks of the link: its beginning, restarts, silence, TLS, ends, and what only a person can mend.

use std::time::Duration;

use crate::base::clock::millis;
use crate::validate::bridge::Wish;
use crate::validate::checklist::Level;
use crate::validate::judge::judge;
use crate::validate::place::Worker;
use crate::validate::simulated::Simulated;
use crate::validate::stage::{ANNA, ANSWERED, BACK, LINKED, Outcome, STOPPED, Stage, TOKEN, ensure};
use crate::validate::untrusted;

/// Restarts of a bridge, and how many of them one worker lives through: its delays double with each.
const RESTARTS: u64 = 20;
const RESTARTS_OF_A_WORKER: u64 = 5;

/// What a worker says of a link that ended. The log leaves out what it said a moment before, so this is not for counting.
const NOTICED: &str = "\"channel_read_error\"";

/// WA-01.
pub fn hello(stage: &mut Stage) -> Outcome {
    let mut worker = stage.start(&[])?;
    let took = stage.linked(&mut worker, 1, LINKED)?;
    stage.saw("online_ms", millis(took));
    ensure(worker.count("\"state\":\"v2\"") == 1, "the extension was not agreed upon")?;
    stage.stop(worker).map(drop)
}

/// WA-02.
pub fn bounded(stage: &mut Stage) -> Outcome {
    let number = stage.write(ANNA)?;
    let mut worker = stage.start(&["--max-messages", "1"])?;
    let took = stage.until(ANSWERED, "the end of a bounded run", &mut |_| !worker.runs())?;
    stage.saw("run_ms", millis(took));
    stage.ended_well(&mut worker)?;
    stage.answered(number)?;
    ensure(stage.answers(number) == 1 && stage.sent.len() == 1, "there is not exactly one answer")
}

/// WA-07.
pub fn restarts(stage: &mut Stage) -> Outcome {
    let mut slowest = Duration::ZERO;
    for number in 0..RESTARTS {
        if number % RESTARTS_OF_A_WORKER == 0 {
            let mut worker = stage.start_linked()?;
            for time in 0..RESTARTS_OF_A_WORKER {
                slowest = slowest.max(restart(stage, &mut worker, time)?);
            }
            stage.stop(worker)?;
        }
    }
    let found = judge(&stage.sent, stage.written);
    stage.saw("restarts", RESTARTS);
    stage.saw("slowest_back_ms", millis(slowest));
    stage.saw("lost", found.lost);
    ensure(found.lost + found.unmarked + found.altered == 0, "a message was lost, or repeated without the mark")?;
    if stage.level == Level::Sim { legacy(stage) } else { Ok(()) }
}

/// A message is under way while the bridge restarts; when the link was back. A worker that stands still cannot take it off
/// the way before.
fn restart(stage: &mut Stage, worker: &mut Worker, time: u64) -> Result<Duration, String> {
    let links = usize::try_from(time).unwrap_or(0) + 1;
    worker.hold(true);
    let number = stage.write(ANNA)?;
    let is_carried = &mut |stage: &mut Stage| stage.bridge.under_way().is_none_or(|count| count > 0);
    stage.until(ANSWERED, "a message is under way", is_carried)?;
    stage.wish(Wish::Stop)?;
    worker.hold(false);
    stage.wish(Wish::Start)?;
    let took = stage.until(BACK, "the link after a restart", &mut |_| worker.count("\"channel_connected\"") > links)?;
    stage.answered(number)?;
    Ok(took)
}

/// What a bridge without v2 loses is counted, and is no failure: it keeps nothing for who is away.
fn legacy(stage: &mut Stage) -> Outcome {
    let plain = Simulated::start(TOKEN, false, stage.clock.clone()).map_err(|_| "no second bridge".to_owned())?;
    let before = std::mem::replace(&mut stage.bridge, Box::new(plain));
    let first = stage.written + 1;
    let worker = stage.start_linked()?;
    for links in 1..=RESTARTS_OF_A_WORKER {
        stage.wish(Wish::Stop)?;
        let known = usize::try_from(links).unwrap_or(0);
        stage.write(ANNA)?;
        stage.wish(Wish::Start)?;
        stage.until(BACK, "the link to a bridge without v2", &mut |_| worker.count("\"channel_connected\"") > known)?;
        stage.ask(ANNA)?;
    }
    stage.stop(worker)?;
    stage.bridge = before;
    let lost = (first..=stage.written).filter(|number| stage.answers(*number) == 0).count();
    stage.saw("legacy_written_while_away", RESTARTS_OF_A_WORKER);
    stage.saw("legacy_lost", lost as u64);
    Ok(())
}

/// WA-08.
pub fn half_open(stage: &mut Stage) -> Outcome {
    let mut worker = stage.start_linked()?;
    stage.ask(ANNA)?;
    // A reply that waits for its confirmation would end the link before the silence does.
    stage.until(ANSWERED, "a confirmation", &mut |_| worker.count("\"event\":\"turn\"") > 0)?;
    stage.wish(Wish::Freeze)?;
    let took = stage.until(BACK, "a dead link is noticed", &mut |_| worker.count(NOTICED) > 0)?;
    stage.saw("noticed_ms", millis(took));
    stage.wish(Wish::Thaw)?;
    stage.linked(&mut worker, 2, BACK)?;
    stage.ask(ANNA)?;
    stage.stop(worker).map(drop)
}

/// WA-13.
pub fn untrusted(stage: &mut Stage) -> Outcome {
    let server = untrusted::Server::start().map_err(|_| "there is no server to refuse".to_owned())?;
    stage.place.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", &server.url());
    let worker = stage.place.start(&[]).map_err(|_| "the worker does not start".to_owned())?;
    let mut answer = None;
    stage.until(LINKED, "a client of the server", &mut |_| {
        answer = server.refuse();
        answer.is_some()
    })?;
    stage.saw("alert", answer.flatten().map_or(0, u64::from));
    ensure(answer.flatten() == Some(untrusted::UNKNOWN_AUTHORITY), "the certificate was not refused as unknown")?;
    stage.until(LINKED, "the operator is told", &mut |_| worker.count("its certificate is not trusted") > 0)?;
    stage.stop(worker).map(drop)
}

/// WA-14.
pub fn stops(stage: &mut Stage) -> Outcome {
    let worker = stage.start_linked()?;
    stage.wish(Wish::Withhold)?;
    let number = stage.write(ANNA)?;
    stage.answered(number)?;
    let unconfirmed = stage.stop(worker)?;
    stage.wish(Wish::Confirm)?;
    let worker = stage.start_linked()?;
    stage.until(ANSWERED, "the repeat", &mut |stage| stage.level == Level::Bridge || stage.answers(number) > 1)?;
    stage.wish(Wish::Freeze)?;
    let silent = stage.stop(worker)?;
    let worker = stage.start(&[])?;
    stage.until(LINKED, "the worker heeds signals", &mut |_| worker.count("\"recovered\"") > 0)?;
    let handshake = stage.stop(worker)?;
    stage.wish(Wish::Thaw)?;
    stage.wish(Wish::Stop)?;
    let worker = stage.start(&[])?;
    stage.until(LINKED, "the bridge is missed", &mut |_| worker.count("\"channel_connect_error\"") > 0)?;
    let nobody = stage.stop(worker)?;
    let all = [unconfirmed, silent, handshake, nobody];
    let names = ["unconfirmed_ms", "silent_ms", "handshake_ms", "nobody_ms"];
    names.into_iter().zip(all).for_each(|(name, took)| stage.saw(name, millis(took)));
    ensure(all.iter().all(|took| *took <= STOPPED), "a stop took too long")
}

/// WA-17.
pub fn parked(stage: &mut Stage) -> Outcome {
    let mut worker = stage.start_linked()?;
    let troubles = [
        (Wish::LogOut, "logged_out", "link it again", "logged_out_told_ms"),
        (Wish::Replace, "replaced", "end that one", "replaced_told_ms"),
    ];
    for (round, (wish, reason, remedy, name)) in troubles.into_iter().enumerate() {
        stage.wish(wish)?;
        let tells = |line: &str| ["\"channel_parked\"", reason, remedy].iter().all(|part| line.contains(part));
        let took = stage.until(LINKED, "the operator is told", &mut |_| worker.said().lines().any(tells))?;
        stage.saw(name, millis(took));
        let parked = (false, Some(reason.to_owned()));
        stage.until(LINKED, "not ready", &mut |stage| stage.place.status().as_ref() == Some(&parked))?;
        stage.wish(Wish::Online)?;
        stage.until(BACK, "the worker goes on", &mut |_| worker.count("\"channel_resumed\"") > round)?;
        stage.linked(&mut worker, round + 2, BACK)?;
        stage.ask(ANNA)?;
        stage.until(LINKED, "ready again", &mut |stage| stage.place.status() == Some((true, None)))?;
    }
    stage.stop(worker).map(drop)
}
