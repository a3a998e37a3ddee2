//! What is said of the program and its channels. Labels that earlier frames had are kept (contract §11). Pure.

use crate::base::clock::Wall;
use crate::monitor::facts::{Application, Facts, Worker};
use crate::monitor::history::Graph;
use crate::monitor::line::{Line, Section, Tone, ago, line, span};
use crate::observe::status::{ProviderStatus, Status, Turns};
use crate::observe::telemetry::Snapshot;

/// A message that is older has waited too long, in milliseconds.
const OLD_MS: u64 = 120_000;

/// Problems that are shown of each worker, newest first.
const PROBLEMS_SHOWN: usize = 4;

/// The program.
pub fn application(facts: &Facts) -> Section {
    let application = &facts.application;
    let mut lines = vec![
        state(facts),
        line("provider", &application.provider),
        line("model", &application.model),
        line("telemetry_file", application.telemetry_file.display().to_string()),
    ];
    lines.extend(counters(application));
    lines.extend(since_start(facts));
    lines.extend(latencies(facts));
    lines.extend(open(facts));
    lines.extend(queues(facts));
    lines.extend(breakers(facts));
    lines.push(tokens(application));
    lines.extend(threads(facts));
    lines.extend(last_turn(application));
    lines.extend(problems(facts));
    Section { title: "APP", lines }
}

/// Workers whose document somebody still writes.
fn live(facts: &Facts) -> impl Iterator<Item = &Status> {
    facts.workers.iter().filter(|worker| !worker.is_stale(facts.at)).map(|worker| &worker.status)
}

fn state(facts: &Facts) -> Line {
    let unready: Vec<String> = live(facts).filter(|status| !status.ready).map(reasons).collect();
    let degraded: Vec<&str> = live(facts).flat_map(|status| &status.degraded).map(String::as_str).collect();
    let line = match (live(facts).count(), unready.is_empty(), degraded.is_empty()) {
        (0, ..) => line("state", "no worker reports").tone(Tone::Warning),
        (_, false, _) => line("state", format!("NOT READY: {}", unready.join("; "))).tone(Tone::Bad),
        (_, _, false) => line("state", format!("ready, impaired: {}", degraded.join(", "))).tone(Tone::Warning),
        _ => line("state", "ready").tone(Tone::Good),
    };
    line.vital()
}

fn reasons(status: &Status) -> String {
    let reasons = if status.reasons.is_empty() { "no reason given".to_owned() } else { status.reasons.join(", ") };
    format!("{} ({reasons})", status.channel.id)
}

fn counters(application: &Application) -> Vec<Line> {
    let Some(known) = &application.counters else {
        return vec![line("telemetry", "unavailable").brief()];
    };
    let Snapshot { total_turns: total, ok_turns: ok, error_turns: error, .. } = known;
    let Snapshot { provider_turns: provider, tool_turns: tool, skill_turns: skill, .. } = known;
    let text = format!("total={total} ok={ok} error={error} provider={provider} tool={tool} skill={skill}");
    vec![line("turns", text).vital().graph(Graph::Turns), line("last_update", &known.updated_at)]
}

fn since_start(facts: &Facts) -> Option<Line> {
    let sum = |count: fn(&Turns) -> u64| live(facts).map(|status| count(&status.turns)).fold(0, u64::saturating_add);
    let text = format!(
        "provider ok={} error={} tool ok={} error={}",
        sum(|turns| turns.provider_ok),
        sum(|turns| turns.provider_error),
        sum(|turns| turns.tool_ok),
        sum(|turns| turns.tool_error),
    );
    live(facts).next().map(|_| line("since_start", text))
}

/// Of the turns since the start, or of all, where there was none since.
fn latencies(facts: &Facts) -> Option<Line> {
    let mut all = Snapshot::default();
    for status in live(facts) {
        for (count, more) in all.latencies.iter_mut().zip(status.turns.latencies) {
            *count = count.saturating_add(more);
        }
    }
    let all = if all.latencies == [0; 12] { facts.application.counters.clone()? } else { all };
    if all.latencies == [0; 12] {
        return None;
    }
    let bound = |percent| all.latency_ms(percent).map_or("more".to_owned(), |bound| format!("{bound} ms"));
    Some(line("latency", format!("p50<={} p90<={} p99<={}", bound(50), bound(90), bound(99))).brief())
}

fn open(facts: &Facts) -> Vec<Line> {
    if live(facts).next().is_none() {
        return Vec::new();
    }
    let (mut unanswered, mut undelivered, mut ambiguous, mut dead) = (0, 0, 0, 0);
    for status in live(facts) {
        unanswered += status.open.unanswered;
        undelivered += status.open.undelivered;
        ambiguous += status.open.ambiguous;
        dead += status.open.dead;
    }
    let oldest = live(facts).filter_map(|status| status.open.oldest_at).min();
    let is_old = oldest.is_some_and(|at| Wall(at).until(facts.at).as_millis() > u128::from(OLD_MS));
    let oldest = oldest.map_or(String::new(), |at| format!(" oldest={}", span(Wall(at).until(facts.at))));
    let text = format!("unanswered={unanswered} undelivered={undelivered}{oldest}");
    let delivery = line("delivery", format!("given_up={dead} may_be_repeats={ambiguous}")).warning_if(dead > 0);
    vec![line("open", text).vital().graph(Graph::Open).bad_if(is_old), delivery]
}

fn queues(facts: &Facts) -> Vec<Line> {
    let of_worker = |status: &Status| {
        let queues = status.queues.iter().map(|queue| format!("{} {}/{}", queue.name, queue.length, queue.bound));
        let text = queues.collect::<Vec<_>>().join(", ");
        let is_full = status.queues.iter().any(|queue| queue.bound > 0 && queue.length >= queue.bound);
        line("queues", format!("{}: {text}", status.channel.id)).warning_if(is_full)
    };
    live(facts).filter(|status| !status.queues.is_empty()).map(of_worker).collect()
}

/// As workers see them; without one, as they were left on the disk.
fn breakers(facts: &Facts) -> Vec<Line> {
    let until = |at: u64| format!(", asked again in {}", span(facts.at.until(Wall(at))));
    let of_worker = |provider: &ProviderStatus| {
        let class = provider.class.as_ref().map_or(String::new(), |class| format!(" ({class})"));
        let is_closed = provider.breaker == "closed";
        let next = if is_closed { "" } else { ", tried with the next question" };
        let until = provider.until_at.map_or(next.to_owned(), until);
        let text = format!("{} {}{class}{until}", provider.name, provider.breaker);
        line("breaker", text).bad_if(!is_closed)
    };
    let mut lines: Vec<Line> = Vec::new();
    for found in live(facts).flat_map(|status| &status.providers).map(of_worker) {
        // Workers of one data folder share what they know.
        if !lines.contains(&found) {
            lines.push(found);
        }
    }
    if live(facts).next().is_none() {
        let left = |(name, class, at): &(String, &str, Wall)| {
            line("breaker", format!("{name} left alone ({class}){}", until(at.0))).brief().bad_if(true)
        };
        lines.extend(facts.application.resting.iter().map(left));
    }
    lines
}

fn tokens(application: &Application) -> Line {
    let Some(used) = application.tokens else {
        return line("tokens", "n/a, the file cannot be read").tone(Tone::Warning);
    };
    match application.tokens_most {
        0 => line("tokens", format!("{used} today")).brief(),
        most => line("tokens", format!("{used} of {most} today")).brief().bad_if(used >= most),
    }
}

fn threads(facts: &Facts) -> Vec<Line> {
    let late =
        live(facts).flat_map(|status| &status.threads).filter(|beat| beat.limit_ms > 0 && beat.age_ms > beat.limit_ms);
    let late =
        late.map(|beat| line("late", format!("{} silent for {} ms of {}", beat.thread, beat.age_ms, beat.limit_ms)));
    late.map(|line| line.bad_if(true)).collect()
}

fn last_turn(application: &Application) -> Option<Line> {
    let turn = application.counters.as_ref()?.last_turn.as_ref()?;
    let path = match turn.path {
        crate::base::message::Path::Provider => "provider",
        crate::base::message::Path::Tool => "tool",
    };
    let error = turn.error.as_ref().map_or(String::new(), |error| format!(" error={error}"));
    let (id, status, session) = (&turn.request_id, &turn.status, &turn.session_id);
    let text = format!("request_id={id} path={path} status={status} session={session}{error}");
    Some(line("last_turn", text).warning_if(turn.error.is_some()))
}

fn problems(facts: &Facts) -> Vec<Line> {
    let mut found: Vec<_> = live(facts).flat_map(|status| status.problems.iter().rev().take(PROBLEMS_SHOWN)).collect();
    found.sort_by_key(|problem| std::cmp::Reverse(problem.at));
    let in_words = |(at, problem): (usize, &crate::observe::status::Problem)| {
        let times = if problem.count > 1 { format!(" ({} times)", problem.count) } else { String::new() };
        let text = format!("{}: {} {}{times}", ago(problem.at, facts.at), problem.event, problem.detail);
        let line = line("problem", text).tone(Tone::Warning);
        if at == 0 { line.brief() } else { line }
    };
    found.into_iter().enumerate().map(in_words).collect()
}

/// The channels.
pub fn channels(facts: &Facts) -> Section {
    let mut lines: Vec<Line> = facts.workers.iter().flat_map(|worker| channel(worker, facts.at)).collect();
    if lines.is_empty() {
        lines.push(line("channels", "no worker has left a status document that we may read").brief());
    }
    Section { title: "CHANNELS", lines }
}

fn channel(worker: &Worker, now: Wall) -> Vec<Line> {
    let (status, is_stale) = (&worker.status, worker.is_stale(now));
    let channel = &status.channel;
    let seen = channel.last_ok_at.map_or("never".to_owned(), |at| ago(at, now));
    let first = match (&channel.parked, channel.up) {
        _ if is_stale => {
            line("channel", format!("{}: silent, last heard {}", channel.id, ago(status.at, now))).tone(Tone::Warning)
        }
        (Some(why), _) => line("channel", format!("{}: PARKED, {why}; last good {seen}", channel.id)).tone(Tone::Bad),
        (None, true) => line("channel", format!("{}: up, last good {seen}", channel.id)).tone(Tone::Good),
        (None, false) => line("channel", format!("{}: DOWN, last good {seen}", channel.id)).tone(Tone::Bad),
    };
    let waiting = channel.waiting.map_or(String::new(), |count| format!(" waiting={count}"));
    let links = format!("reconnects={} errors={}{waiting}", channel.reconnects, channel.errors);
    // What it says of itself is as old as that.
    let [started, heard] = [status.started_at, status.at].map(|at| ago(at, now));
    let running = format!("{} pid {}, started {started}, last word {heard}", status.program, status.pid);
    let journal = &status.journal;
    let commits = format!(
        "commits={} bytes={} flush_p99={} ms errors={}",
        journal.commits, journal.bytes, journal.flush_p99_ms, journal.errors
    );
    let mut lines = vec![first.vital(), line("links", links), line("worker", running)];
    lines.push(line("journal", commits).bad_if(journal.errors > 0));
    if !status.ready && !is_stale {
        lines.push(line("not_ready", status.reasons.join(", ")).tone(Tone::Bad));
    }
    lines
}
