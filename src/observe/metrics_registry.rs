//! [`Registry`]: the numbers of every metric. Pure: it is told, and is asked. What an event or a note means for it stands in
//! `metrics_fold.rs`, how it is shown in `metrics_text.rs`.
//!
//! Numbers are whole; those of seconds are kept in milliseconds. A series takes as many lines as it has numbers to show, and
//! all together never more than [`SERIES_MAX`]: what would come beyond is dropped, and counted.

use std::collections::VecDeque;

use crate::base::clock::Wall;
use crate::base::id::ChannelId;
use crate::base::sorted::SortedMap;
use crate::observe::metrics::{
    CHANNELS, Id, Kind, LABELS_MAX, Label, METRICS, Metric, NAMES_MAX, OTHER, SERIES_MAX, Words,
};
use crate::observe::status::{PROBLEMS_MAX, Problem, ProviderStatus, Status};
use crate::observe::telemetry::Latencies;

/// Places of the words of a series in the sets of its labels.
type Places = [u8; LABELS_MAX];

/// The place of a word that is in no set.
const NOWHERE: u8 = u8::MAX;

/// The numbers of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Of a counter or a gauge.
    One(u64),
    /// Of a histogram: how many lie within each bound and not within the one before, and how many beyond the last; their sum.
    Many(Vec<u64>, u64),
}

/// One series.
#[derive(Clone, Debug)]
pub struct Series {
    places: Places,
    /// Its numbers.
    pub numbers: Numbers,
}

/// What of a channel is in its status document and in no metric.
#[derive(Clone, Debug, Default)]
pub(super) struct OfChannel {
    pub(super) latencies: Latencies,
    pub(super) last: Option<String>,
    pub(super) last_at: Option<u64>,
    pub(super) parked: Option<String>,
    pub(super) oldest_at: Option<u64>,
    pub(super) waiting: Option<u64>,
    /// It was up before.
    pub(super) was_up: bool,
}

/// What is looked up when somebody asks, because nothing tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Processor time, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes in RAM.
    pub rss_bytes: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Bytes free where the data folder is.
    pub disk_free_bytes: Option<u64>,
    /// Whether the clock can be believed.
    pub is_clock_synced: bool,
    /// Log lines dropped since the start.
    pub log_dropped: u64,
    /// Providers that were asked.
    pub providers: Vec<ProviderStanding>,
    /// Tokens spent today, and the limit.
    pub tokens: (u64, u64),
}

/// What is known of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStanding {
    /// Its name, as configured.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// The class that opened it.
    pub class: Option<&'static str>,
    /// It is not asked before.
    pub until: Option<Wall>,
    /// Further attempts it may be burdened with, in thousandths.
    pub retry_tokens: u64,
}

/// The numbers of this process.
#[derive(Clone, Debug)]
pub struct Registry {
    series: Vec<Vec<Series>>,
    lines: usize,
    providers: Vec<String>,
    pub(super) channels: SortedMap<ChannelId, OfChannel>,
    problems: VecDeque<(ChannelId, Problem)>,
    standing: Vec<ProviderStanding>,
}

impl Registry {
    /// Nothing happened yet in a process with these channels and configured providers.
    pub fn new(channels: &[ChannelId], providers: &[&str], now: Wall) -> Registry {
        let mut names: Vec<String> = Vec::new();
        for name in providers {
            if names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
        let mut registry = Registry {
            series: METRICS.iter().map(|_| Vec::new()).collect(),
            lines: 0,
            providers: names,
            channels: channels.iter().map(|channel| (*channel, OfChannel::default())).collect(),
            problems: VecDeque::new(),
            standing: Vec::new(),
        };
        // Should there be too many providers, everything else is there.
        let of_providers = |metric: &&Metric| metric.labels.iter().any(|(_, words)| *words == Words::Provider);
        let (last, first): (Vec<_>, Vec<_>) = METRICS.iter().filter(|metric| metric.is_eager).partition(of_providers);
        for metric in first.into_iter().chain(last) {
            registry.begin(metric, [0; LABELS_MAX], 0);
        }
        registry.set(Id::Build, &[env!("CARGO_PKG_VERSION")], 1);
        registry.set(Id::Started, &[], now.0);
        for channel in channels {
            registry.set(Id::LastOk, &[channel.name()], now.0);
        }
        registry
    }

    /// Every series of the labels from `at` on.
    fn begin(&mut self, metric: &'static Metric, places: Places, at: usize) {
        let Some((_, words)) = metric.labels.get(at) else {
            self.numbers(metric, places);
            return;
        };
        let last = match words {
            Words::Closed(words) => words.len(),
            Words::Channel => CHANNELS.len(),
            Words::Provider => self.providers.len(),
        };
        for place in 0..last {
            let is_ours = |name: &&str| self.channels.keys().any(|channel| channel.name() == *name);
            if *words == Words::Channel && !CHANNELS.get(place).is_some_and(is_ours) {
                continue;
            }
            let mut places = places;
            places[at] = u8::try_from(place).unwrap_or(NOWHERE);
            self.begin(metric, places, at + 1);
        }
    }

    /// Adds to a counter.
    pub fn add(&mut self, id: Id, words: &[&str], more: u64) {
        if let Some(Numbers::One(number)) = self.of(id, words) {
            *number = number.saturating_add(more);
        }
    }

    /// Sets a gauge, or a counter that is counted elsewhere.
    pub fn set(&mut self, id: Id, words: &[&str], value: u64) {
        if let Some(Numbers::One(number)) = self.of(id, words) {
            *number = value;
        }
    }

    /// Adds a measurement, in thousandths of the unit, to a histogram.
    pub fn observe(&mut self, id: Id, words: &[&str], value: u64) {
        let Kind::Histogram(bounds) = id.metric().kind else { return };
        if let Some(Numbers::Many(counts, sum)) = self.of(id, words) {
            counts[bounds.partition_point(|bound| *bound < value)] += 1;
            *sum = sum.saturating_add(value);
        }
    }

    /// The number of a series, 0 if there is none.
    pub fn number(&self, id: Id, words: &[&str]) -> u64 {
        let places = self.places(id.metric(), words);
        let found = self.series[id as usize].iter().find(|series| series.places == places);
        match found.map(|series| &series.numbers) {
            Some(Numbers::One(number)) => *number,
            Some(Numbers::Many(counts, _)) => counts.iter().sum(),
            None => 0,
        }
    }

    /// When the oldest message of the channel that is not closed was received.
    pub fn oldest_at(&self, channel: ChannelId) -> Option<u64> {
        self.channels.get(&channel).and_then(|of_channel| of_channel.oldest_at)
    }

    /// Every series of a metric.
    pub fn series(&self, id: Id) -> &[Series] {
        &self.series[id as usize]
    }

    /// What a label of a series says.
    pub fn word(&self, series: &Series, at: usize, (_, words): Label) -> &str {
        let place = usize::from(series.places[at]);
        let closed = words.closed().and_then(|words| words.get(place)).copied();
        closed
            .or_else(|| Some(self.providers.get(place).filter(|_| words == Words::Provider)?.as_str()))
            .unwrap_or(OTHER)
    }

    fn of(&mut self, id: Id, words: &[&str]) -> Option<&mut Numbers> {
        let metric = id.metric();
        let places = self.places(metric, words);
        self.numbers(metric, places)
    }

    fn places(&self, metric: &Metric, words: &[&str]) -> Places {
        let mut places = [0; LABELS_MAX];
        for (at, ((_, set), word)) in metric.labels.iter().zip(words).enumerate() {
            let find = |wanted: &str| match set.closed() {
                Some(words) => words.iter().position(|known| *known == wanted),
                None => self.providers.iter().position(|known| known == wanted),
            };
            let place = find(word).or_else(|| find(OTHER));
            places[at] = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(NOWHERE);
        }
        places
    }

    /// The numbers of a series, which begins with this call; `None` if there are too many.
    fn numbers(&mut self, metric: &Metric, places: Places) -> Option<&mut Numbers> {
        let at = self.series[metric.id as usize].iter().position(|series| series.places == places);
        if at.is_none() {
            let (numbers, lines) = match metric.kind {
                // Beside its bounds it shows the one without a bound, the sum and the count.
                Kind::Histogram(bounds) => (Numbers::Many(vec![0; bounds.len() + 1], 0), bounds.len() + 3),
                _ => (Numbers::One(0), 1),
            };
            if self.lines + lines > SERIES_MAX {
                self.add(Id::SeriesDropped, &[], 1);
                return None;
            }
            self.lines += lines;
            self.series[metric.id as usize].push(Series { places, numbers });
        }
        let of_metric = &mut self.series[metric.id as usize];
        let at = at.unwrap_or(of_metric.len() - 1);
        Some(&mut of_metric[at].numbers)
    }

    /// Something went wrong. The same thing again is counted; beyond [`PROBLEMS_MAX`] the oldest is forgotten.
    pub(super) fn problem(&mut self, channel: ChannelId, event: &str, detail: &str, at: Wall) {
        let same =
            |(of, problem): &(ChannelId, Problem)| *of == channel && problem.event == event && problem.detail == detail;
        let known = self.problems.iter().position(same).and_then(|at| self.problems.remove(at));
        let count = known.map_or(1, |(_, problem)| problem.count + 1);
        self.problems
            .push_back((channel, Problem { at: at.0, event: event.to_owned(), detail: detail.to_owned(), count }));
        if self.problems.len() > PROBLEMS_MAX {
            self.problems.pop_front();
        }
    }

    /// Takes over what was looked up.
    pub fn look(&mut self, looked: Looked) {
        let gauges = [
            (Id::Cpu, looked.cpu_ms),
            (Id::Rss, looked.rss_bytes),
            (Id::Descriptors, looked.descriptors),
            (Id::Threads, looked.threads),
            (Id::DiskFree, looked.disk_free_bytes),
            (Id::ClockSynced, Some(u64::from(looked.is_clock_synced))),
            (Id::LogDropped, Some(looked.log_dropped)),
            (Id::TokensToday, Some(looked.tokens.0)),
            (Id::TokensTodayMax, Some(looked.tokens.1)),
        ];
        for (id, value) in gauges {
            match value {
                Some(value) => self.set(id, &[], value),
                // What is not known is not shown as zero.
                None => self.lines -= self.series[id as usize].drain(..).count(),
            }
        }
        for provider in &looked.providers {
            let key = [provider.name.as_str()];
            let state = match provider.breaker {
                "closed" => 0,
                "half_open" => 1,
                _ => 2,
            };
            self.set(Id::Breaker, &key, state);
            self.set(Id::NotBefore, &key, provider.until.map_or(0, |until| until.0));
            self.set(Id::RetryTokens, &key, provider.retry_tokens);
        }
        self.standing = looked.providers;
    }

    /// Fills what is counted here into the document of a channel: channel, turns, open messages, providers, tokens, journal,
    /// problems. The rest stays as it is.
    pub fn fill(&self, channel: ChannelId, status: &mut Status) {
        let name = channel.name();
        let number = |id: Id, words: &[&str]| self.number(id, &[&[name], words].concat());
        let sizes = |id: Id, words: &[&str]| usize::try_from(number(id, words)).unwrap_or(usize::MAX);
        let of_channel = self.channels.get(&channel).cloned().unwrap_or_default();
        status.channel.id = name.to_owned();
        status.channel.up = number(Id::Up, &[]) == 1;
        status.channel.last_ok_at = of_channel.was_up.then(|| number(Id::LastOk, &[]));
        status.channel.parked = of_channel.parked;
        status.channel.reconnects = number(Id::Reconnects, &[]);
        status.channel.errors =
            ["poll", "connect", "read"].iter().map(|class| number(Id::ChannelErrors, &[class])).sum();
        status.channel.waiting = of_channel.waiting;
        let turns = &mut status.turns;
        turns.provider_ok = number(Id::Turns, &["provider", "ok"]);
        turns.provider_error = number(Id::Turns, &["provider", "error"]);
        turns.tool_ok = number(Id::Turns, &["tool", "ok"]);
        turns.tool_error = number(Id::Turns, &["tool", "error"]);
        (turns.latencies, turns.last, turns.last_at) = (of_channel.latencies, of_channel.last, of_channel.last_at);
        status.open.unanswered = sizes(Id::Pending, &["unanswered"]);
        status.open.undelivered = sizes(Id::Pending, &["undelivered"]);
        status.open.oldest_at = of_channel.oldest_at;
        status.open.ambiguous =
            ["ambiguous_resent", "ambiguous_notice"].iter().map(|way| number(Id::Deliveries, &[way])).sum();
        status.open.dead = number(Id::Deliveries, &["dead"]);
        status.journal.commits = number(Id::Commits, &[]);
        status.journal.bytes = number(Id::JournalBytes, &[]);
        status.journal.errors =
            ["write", "flush", "too_large", "damage"].iter().map(|kind| number(Id::JournalErrors, &[kind])).sum();
        status.journal.flush_p99_ms = self.percentile(Id::Fsync, &[name], 99);
        status.providers = self.providers.iter().map(|name| self.provider(name)).collect();
        (status.tokens.used, status.tokens.most) =
            (self.number(Id::TokensToday, &[]), self.number(Id::TokensTodayMax, &[]));
        let ours = |(of, problem): &(ChannelId, Problem)| {
            (*of == channel || *of == ChannelId::Console).then(|| problem.clone())
        };
        status.problems = self.problems.iter().filter_map(ours).collect();
    }

    fn provider(&self, name: &str) -> ProviderStatus {
        let standing = self.standing.iter().find(|standing| standing.name == name);
        ProviderStatus {
            name: name.to_owned(),
            breaker: standing.map_or("closed", |standing| standing.breaker).to_owned(),
            class: standing.and_then(|standing| standing.class).map(str::to_owned),
            until_at: standing.and_then(|standing| standing.until).map(|until| until.0),
        }
    }

    /// The bound that `percent` of the measurements do not exceed; the last one for what lies beyond, 0 if there is none.
    fn percentile(&self, id: Id, words: &[&str], percent: u64) -> u64 {
        let places = self.places(id.metric(), words);
        let found = self.series[id as usize].iter().find(|series| series.places == places);
        let (Kind::Histogram(bounds), Some(Numbers::Many(counts, _))) =
            (id.metric().kind, found.map(|series| &series.numbers))
        else {
            return 0;
        };
        let wanted = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        if wanted == 0 { 0 } else { at.and_then(|at| bounds.get(at)).or(bounds.last()).copied().unwrap_or(0) }
    }
}
