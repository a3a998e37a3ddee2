//! Facts as they were found on a Raspberry Pi on a bad day, with figures that are easy to see again.

use rusty_pinch::base::clock::Wall;
use rusty_pinch::monitor::facts::{Application, Asked, Facts, FolderSize, Host, Process, Storage, Worker};
use rusty_pinch::monitor::history::History;
use rusty_pinch::observe::status::{
    Beat, ChannelStatus, Journal, Open, Problem, ProviderStatus, Queue, Status, Tokens, Turns,
};
use rusty_pinch::observe::telemetry::Snapshot;
use rusty_pinch::sys::machine::{Machine, Memory, Throttled};

const NOW: u64 = 1_795_562_271_042;

/// A snapshot as `telemetry/latest.json` has it.
const COUNTERS: &str = r#"{"schema_version":1,"updated_at":"2026-11-24T23:17:49.000+00:00","total_turns":1204,"ok_turns":1190,
    "error_turns":14,"provider_turns":1100,"tool_turns":104,"latencies":[0,10,200,700,150,30,9,1,0,0,0,0],
    "last_turn":{"timestamp":"2026-11-24T23:17:40.000+00:00","request_id":"rp-01M8M1387MCJ6T128WYZQP4YM4","session_id":"telegram:42",
    "path":"provider","status":"error","provider":"openrouter","model":"m","tool_name":null,"attempts":3,"latency_ms":900,
    "user_chars":5,"response_chars":9,"error":"rate_limited"}}"#;

fn counters() -> Snapshot {
    serde_json::from_str(COUNTERS).expect("a snapshot")
}

fn telegram() -> Status {
    let queue = |name: &str, length, bound| Queue { name: name.to_owned(), length, bound };
    let problem = |ago: u64, event: &str, detail: &str, count| Problem {
        at: NOW - ago,
        event: event.to_owned(),
        detail: detail.to_owned(),
        count,
    };
    Status {
        version: 1,
        program: "0.1.0".into(),
        pid: 812,
        started_at: NOW - 7_300_000,
        at: NOW - 4000,
        ready: true,
        degraded: vec!["provider_open:openrouter".into()],
        channel: ChannelStatus {
            id: "telegram".into(),
            up: true,
            last_ok_at: Some(NOW - 12_000),
            reconnects: 2,
            errors: 5,
            waiting: Some(0),
            ..ChannelStatus::default()
        },
        threads: vec![Beat { thread: "writer".into(), age_ms: 20, limit_ms: 10_000 }],
        queues: vec![queue("inbox", 1, 16), queue("appends", 0, 16), queue("deliveries", 0, 64)],
        turns: Turns {
            provider_ok: 90,
            provider_error: 4,
            tool_ok: 7,
            latencies: counters().latencies,
            ..Turns::default()
        },
        open: Open { unanswered: 2, undelivered: 1, oldest_at: Some(NOW - 95_000), ambiguous: 1, dead: 0 },
        providers: vec![
            ProviderStatus {
                name: "openrouter".into(),
                breaker: "open".into(),
                class: Some("rate_limited".into()),
                until_at: Some(NOW + 40_000),
            },
            ProviderStatus { name: "codex".into(), breaker: "closed".into(), ..ProviderStatus::default() },
        ],
        tokens: Tokens { used: 120_000, most: 2_000_000 },
        journal: Journal { commits: 410, bytes: 3_400_000, flush_p99_ms: 31, errors: 0 },
        problems: vec![
            problem(700_000, "channel_poll_error", "timeout", 4),
            problem(95_000, "provider_state", "rate_limited", 1),
        ],
        ..Status::default()
    }
}

fn whatsapp() -> Status {
    let channel = ChannelStatus {
        id: "whatsapp".into(),
        parked: Some("logged_out".into()),
        last_ok_at: Some(NOW - 9_000_000),
        ..ChannelStatus::default()
    };
    let started_at = NOW - 9_100_000;
    Status {
        version: 1,
        program: "0.1.0".into(),
        pid: 812,
        at: NOW - 4000,
        started_at,
        reasons: vec!["logged_out".into()],
        channel,
        ..Status::default()
    }
}

pub fn facts() -> Facts {
    let memory = Memory { total: 955_637_760, available: 401_367_040, swap_total: 209_715_200, swap_free: 150_994_944 };
    Facts {
        at: Wall(NOW),
        asked: Asked { interval_ms: 1000, pid: None, process_match: "rusty-pinch".into() },
        application: Application {
            provider: "openrouter".into(),
            model: "meta-llama/llama-3.3-70b-instruct".into(),
            telemetry_file: "/var/lib/rusty-pinch/telemetry/latest.json".into(),
            counters: Some(counters()),
            tokens: Some(120_000),
            tokens_most: 2_000_000,
            resting: Vec::new(),
        },
        workers: vec![Worker { status: telegram() }, Worker { status: whatsapp() }],
        process: Some(Process {
            pid: 812,
            command: "/usr/bin/rusty-pinch channels all".into(),
            cpu_percent: Some(1.26),
            resident: Some(4_917_248),
            virtual_size: Some(31_457_280),
            threads: Some(21),
            descriptors: Some(19),
            io: Some((1_048_576, 52_428_800)),
        }),
        host: Host {
            load: Some("0.42 0.31 0.20".into()),
            cores: Some(4),
            cpu_percent: Some(7.5),
            machine: Machine {
                memory: Some(memory),
                throttled: Some(Throttled(0x50005)),
                temperature_milli: Some(61_200),
                model: Some("Raspberry Pi 3 Model B Rev 1.2".into()),
            },
            limit: None,
            synchronised: Some(true),
            uptime_secs: Some(270_000),
        },
        storage: Storage {
            data: "/var/lib/rusty-pinch".into(),
            workspace: "/var/lib/rusty-pinch/workspace".into(),
            data_size: Some(FolderSize { bytes: 19_000_000, is_partial: false }),
            workspace_size: Some(FolderSize { bytes: 123_456_789, is_partial: true }),
            disk: Some((31_000_000_000, 21_500_000_000)),
            journal: Some(16_777_216),
        },
    }
}

/// The same host a number of looks later: every figure that can change has.
pub fn later(look: u64) -> Facts {
    let mut facts = facts();
    let wave = |period: u64| (look % period) as f64 / period as f64;
    facts.at = Wall(NOW + look * 1000);
    facts.host.cpu_percent = Some(5.0 + 80.0 * wave(7));
    facts.host.load = Some(format!("0.{:02} 0.31 0.{:02}", look * 7 % 100, look * 3 % 100));
    if let Some(memory) = &mut facts.host.machine.memory {
        memory.available -= look * 1_000_003 % 200_000_000;
    }
    facts.host.machine.temperature_milli = Some(55_000 + i64::try_from(look * 731 % 20_000).expect("small"));
    if let Some(process) = &mut facts.process {
        process.cpu_percent = Some(30.0 * wave(11));
        process.resident = Some(4_900_000 + look * 4096);
        process.io = Some((1_048_576, 52_428_800 + look * look * 512));
        process.descriptors = Some(19 + usize::try_from(look % 5).expect("small"));
    }
    if let Some(counters) = &mut facts.application.counters {
        counters.total_turns += look * (look % 3);
    }
    for worker in &mut facts.workers {
        worker.status.at = facts.at.0;
        worker.status.open.unanswered = usize::try_from(look % 6).expect("small");
        worker.status.channel.last_ok_at = Some(facts.at.0 - look % 40 * 1000);
    }
    facts
}

/// What a monitor that has looked so often remembers.
pub fn history(looks: u64) -> History {
    let mut history = History::default();
    (0..looks).for_each(|look| history.add(&later(look)));
    history
}

/// Every text from outside wants to be more than text.
pub fn hostile() -> Facts {
    let bad = "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}31mA\u{202e}B\u{200d}\r\nC\u{e0041}漢e\u{301}";
    let mut facts = facts();
    facts.application.model = bad.into();
    facts.application.provider = bad.into();
    facts.asked.process_match = bad.into();
    facts.storage.data = bad.into();
    facts.host.load = Some(bad.into());
    facts.host.machine.model = Some(bad.into());
    if let Some(process) = &mut facts.process {
        process.command = format!("{bad}\n[HOST]\nmemory: all of it {}", "x".repeat(300));
    }
    if let Some(turn) = facts.application.counters.as_mut().and_then(|counters| counters.last_turn.as_mut()) {
        turn.session_id = bad.into();
    }
    for worker in &mut facts.workers {
        let status = &mut worker.status;
        status.channel.id = bad.into();
        status.channel.parked = Some(bad.into());
        status.degraded = vec![bad.into(); 3];
        status.reasons = vec![bad.into()];
        status.program = bad.into();
        status.problems.iter_mut().for_each(|problem| problem.detail = bad.into());
        status.queues.iter_mut().for_each(|queue| queue.name = bad.into());
        status.providers.iter_mut().for_each(|provider| provider.name = bad.into());
    }
    facts
}
