//! A frame for where there is no screen: sections in brackets, `label: text` lines, as frames always were. Pure.

use crate::monitor::facts::Facts;
use crate::monitor::line::{Glyphs, Section};
use crate::monitor::{views, views_host};

/// Every section, in the order of the frame.
pub fn sections(facts: &Facts) -> [Section; 5] {
    [
        views::application(facts),
        views::channels(facts),
        views_host::process(facts),
        views_host::host(facts),
        views_host::storage(facts),
    ]
}

/// The whole frame, with a newline at its end.
pub fn frame(facts: &Facts, glyphs: Glyphs) -> String {
    let asked = &facts.asked;
    let target = match asked.pid {
        Some(pid) => format!("pid: {pid}"),
        None => format!("match: {}", glyphs.text(&asked.process_match)),
    };
    let seconds = facts.at.0 / 1000;
    let mut text = format!("Rusty Pinch Monitor\ntime: {seconds} | interval_ms: {} | {target}\n", asked.interval_ms);
    for section in sections(facts) {
        text.push_str("\n[");
        text.push_str(section.title);
        text.push(']');
        for line in section.lines {
            text.push_str(if line.is_joined { " | " } else { "\n" });
            text.push_str(line.label);
            text.push_str(": ");
            text.push_str(&glyphs.text(&line.text));
        }
        text.push('\n');
    }
    text
}
