//! [`History`]: figures of the last minutes, a ring for each graph, and the steps a graph is drawn with. Pure.

use std::collections::VecDeque;

use crate::monitor::facts::Facts;

/// Samples of a graph; the oldest goes.
pub const SAMPLES_MAX: usize = 60;

/// The highest step of a graph; the lowest is 0.
pub const STEP_MAX: u8 = 7;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// Processor time of the process, in hundredths of a core.
    Cpu,
    /// Its resident memory, in bytes.
    Resident,
    /// What it wrote since the sample before, in bytes.
    Written,
    /// Turns closed since the sample before.
    Turns,
    /// Messages that are not closed.
    Open,
    /// Processor time of the host, in hundredths of all it has.
    HostCpu,
    /// Memory of the host that is not available, in hundredths.
    Memory,
    /// Degrees Celsius.
    Temperature,
}

/// The graphs, and the figure that reaches the top at least: less would make noise look like mountains.
const GRAPHS: [(Graph, f64); 8] = [
    (Graph::Cpu, 10.0),
    (Graph::Resident, 1_048_576.0),
    (Graph::Written, 65_536.0),
    (Graph::Turns, 4.0),
    (Graph::Open, 4.0),
    (Graph::HostCpu, 100.0),
    (Graph::Memory, 100.0),
    (Graph::Temperature, 85.0),
];

/// The last figures of every graph; an unknown one is a gap.
#[derive(Clone, Debug, Default)]
pub struct History {
    rings: [VecDeque<Option<f64>>; GRAPHS.len()],
    before: Totals,
}

/// Counters of the sample before, of which graphs show the growth.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    written: Option<u64>,
    turns: Option<u64>,
}

impl History {
    /// Takes the figures of one moment.
    pub fn add(&mut self, facts: &Facts) {
        let process = facts.process.as_ref();
        let totals = Totals {
            written: process.and_then(|process| process.io).map(|(_, written)| written),
            turns: facts.application.counters.as_ref().map(|counters| counters.total_turns),
        };
        let grown = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?) as f64);
        let open = facts.workers.iter().map(|worker| worker.status.open.unanswered + worker.status.open.undelivered);
        let memory = facts.host.machine.memory.filter(|memory| memory.total > 0);
        for ((graph, _), ring) in GRAPHS.into_iter().zip(&mut self.rings) {
            let figure = match graph {
                Graph::Cpu => process.and_then(|process| process.cpu_percent),
                Graph::Resident => process.and_then(|process| process.resident).map(|bytes| bytes as f64),
                Graph::Written => grown(totals.written, self.before.written),
                Graph::Turns => grown(totals.turns, self.before.turns),
                Graph::Open => (!facts.workers.is_empty()).then(|| open.clone().sum::<usize>() as f64),
                Graph::HostCpu => facts.host.cpu_percent,
                Graph::Memory => memory.map(|memory| used(memory.total, memory.available)),
                Graph::Temperature => facts.host.machine.temperature_milli.map(|milli| milli as f64 / 1000.0),
            };
            if ring.len() == SAMPLES_MAX {
                ring.pop_front();
            }
            ring.push_back(figure.filter(|figure| figure.is_finite()));
        }
        self.before = totals;
    }

    /// The newest `width` samples as steps, the newest last; `None` is a gap. The highest figure in the ring is the top.
    pub fn steps(&self, graph: Graph, width: usize) -> Vec<Option<u8>> {
        let Some(at) = GRAPHS.iter().position(|(other, _)| *other == graph) else { return Vec::new() };
        let ring = &self.rings[at];
        let top = ring.iter().flatten().fold(GRAPHS[at].1, |top, figure| top.max(*figure));
        let step = |figure: f64| (figure.max(0.0) / top * f64::from(STEP_MAX)).round() as u8;
        let shown = ring.iter().skip(ring.len().saturating_sub(width));
        shown.map(|figure| figure.map(step)).collect()
    }
}

/// What is not free, in hundredths.
pub fn used(total: u64, free: u64) -> f64 {
    if total == 0 { 0.0 } else { total.saturating_sub(free) as f64 * 100.0 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::facts::Process;

    fn with_cpu(percent: Option<f64>) -> Facts {
        Facts { process: Some(Process { cpu_percent: percent, ..Process::default() }), ..Facts::default() }
    }

    #[test]
    fn graphs_keep_the_newest_samples_and_reach_their_top() {
        let mut history = History::default();
        for percent in 0..SAMPLES_MAX + 40 {
            history.add(&with_cpu(Some(percent as f64)));
        }
        let steps = history.steps(Graph::Cpu, 500);
        assert_eq!((steps.len(), steps[0], steps[SAMPLES_MAX - 1]), (SAMPLES_MAX, Some(3), Some(STEP_MAX)));
        assert_eq!(history.steps(Graph::Cpu, 2).len(), 2);
    }

    #[test]
    fn small_figures_stay_low_and_unknown_ones_are_gaps() {
        let mut history = History::default();
        for percent in [Some(1.0), None, Some(f64::NAN), Some(-3.0)] {
            history.add(&with_cpu(percent));
        }
        assert_eq!(history.steps(Graph::Cpu, 9), [Some(1), None, None, Some(0)]);
        assert_eq!(history.steps(Graph::Temperature, 9), [None; 4]);
    }

    #[test]
    fn counters_are_drawn_by_their_growth() {
        let mut history = History::default();
        for written in [1000, 66_536, 0, 0] {
            let process = Process { io: Some((0, written)), ..Process::default() };
            history.add(&Facts { process: Some(process), ..Facts::default() });
        }
        assert_eq!(history.steps(Graph::Written, 9), [None, Some(STEP_MAX), Some(0), Some(0)]);
    }
}
