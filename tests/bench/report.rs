//! Figures with their budgets: printed as they are measured, judged at the end.

use std::process::ExitCode;

use crate::support::cases::say;

enum Budget {
    /// Nothing was promised.
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// One measured number.
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    budget: Budget,
    is_enforced: bool,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &'static str) -> Figure {
        Figure { name: name.to_string(), value, unit, budget: Budget::None, is_enforced: false }
    }

    /// Enforced: more than this fails the run.
    pub fn at_most(mut self, limit: f64) -> Figure {
        self.budget = Budget::AtMost(limit);
        self.is_enforced = true;
        self
    }

    /// A goal for something that other work on the machine changes.
    pub fn goal_at_most(mut self, limit: f64) -> Figure {
        self.budget = Budget::AtMost(limit);
        self
    }

    /// A goal for something that other work on the machine changes.
    pub fn goal_at_least(mut self, limit: f64) -> Figure {
        self.budget = Budget::AtLeast(limit);
        self
    }

    fn is_kept(&self) -> bool {
        match self.budget {
            Budget::None => true,
            Budget::AtMost(limit) => self.value <= limit,
            Budget::AtLeast(limit) => self.value >= limit,
        }
    }

    fn line(&self) -> String {
        let budget = match self.budget {
            Budget::None => String::new(),
            Budget::AtMost(limit) => format!("≤ {limit}"),
            Budget::AtLeast(limit) => format!("≥ {limit}"),
        };
        let verdict = match (&self.budget, self.is_kept(), self.is_enforced) {
            (Budget::None, _, _) => "",
            (_, true, true) => "kept",
            (_, true, false) => "kept, not enforced",
            (_, false, true) => "BROKEN",
            (_, false, false) => "missed, not enforced",
        };
        let line = format!("  {:<52} {:>10} {:<10} {budget:<8} {verdict}", self.name, number(self.value), self.unit);
        line.trim_end().to_string()
    }
}

/// Three digits are as much as anything here is worth.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The run so far.
pub struct Report {
    broken: Vec<String>,
}

impl Report {
    pub fn start(machine: &str) -> Report {
        say(&format!("machine: {machine}"));
        Report { broken: Vec::new() }
    }

    pub fn section(&self, name: &str) {
        say(&format!("\n{name}"));
    }

    /// How a person gets the figures that follow.
    pub fn command(&self, command: &str) {
        say(&format!("  $ {command}"));
    }

    pub fn add(&mut self, figure: Figure) {
        let line = figure.line();
        say(&line);
        if figure.is_enforced && !figure.is_kept() {
            self.broken.push(line);
        }
    }

    pub fn skip(&self, what: &str, why: &str) {
        say(&format!("  skip: {what}: {why}"));
    }

    pub fn note(&self, text: &str) {
        say(&format!("  ({text})"));
    }

    /// Fails if an enforced budget was broken.
    pub fn finish(self) -> ExitCode {
        if self.broken.is_empty() {
            say("\nevery enforced budget is kept");
            return ExitCode::SUCCESS;
        }
        say(&format!("\n{} enforced budgets are broken:\n{}", self.broken.len(), self.broken.join("\n")));
        ExitCode::FAILURE
    }
}
