//! What captured facts look like, letter by letter, at three sizes and without UTF-8, and what one look costs on the line.

use std::fs;

use rusty_pinch::monitor::facts::Facts;
use rusty_pinch::monitor::layout::{Key, Screen};
use rusty_pinch::monitor::line::Glyphs;
use rusty_pinch::monitor::plain;
use rusty_pinch::monitor::screen::Grid;

use super::sample::{facts, history, hostile, later};
use crate::support::repository::root;

/// What a slow line carries in a second.
const BYTES_PER_LOOK_MAX: usize = 4096;

const UTF8: Glyphs = Glyphs { is_utf8: true };
const ASCII: Glyphs = Glyphs { is_utf8: false };

fn drawn(facts: &Facts, glyphs: Glyphs, keys: &[Key], columns: u16, rows: u16) -> Grid {
    let mut screen = Screen::new(glyphs);
    let history = history(90);
    screen.draw(facts, &history, columns, rows);
    keys.iter().for_each(|key| screen.press(*key));
    screen.draw(facts, &history, columns, rows)
}

#[track_caller]
fn equals(name: &str, got: &str) {
    let path = root().join("tests/it/monitor/screens").join(name);
    let want = fs::read_to_string(&path).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "how a person asks for new files")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if want != got && update {
        fs::write(&path, got).expect("written");
    }
    assert!(want == got, "{name} looks different now (UPDATE_GOLDEN=1 writes it anew):\n{got}");
}

#[track_caller]
fn shows(name: &str, facts: &Facts, glyphs: Glyphs, keys: &[Key], columns: u16, rows: u16) {
    let grid = drawn(facts, glyphs, keys, columns, rows);
    let text: String = (0..grid.rows()).map(|row| grid.row(row) + "\n").collect();
    equals(name, &text);
}

#[test]
fn the_overview_is_useful_at_three_sizes() {
    shows("80x24.txt", &facts(), UTF8, &[], 80, 24);
    shows("40x10.txt", &facts(), UTF8, &[], 40, 10);
    shows("200x60.txt", &facts(), UTF8, &[], 200, 60);
}

#[test]
fn every_view_and_the_help_fit_into_80_by_24() {
    for (view, name) in ["app", "channels", "process", "host", "storage"].into_iter().enumerate() {
        shows(&format!("view-{name}.txt"), &facts(), UTF8, &[Key::View(view + 1)], 80, 24);
    }
    shows("help.txt", &facts(), UTF8, &[Key::Help, Key::Pause], 80, 24);
    shows("40x10-scrolled.txt", &facts(), UTF8, &[Key::PageDown], 40, 10);
}

#[test]
fn without_utf8_everything_is_ascii() {
    shows("80x24-ascii.txt", &facts(), ASCII, &[], 80, 24);
    for facts in [facts(), hostile()] {
        let bytes = drawn(&facts, ASCII, &[], 200, 60).difference(None, true);
        assert!(bytes.is_ascii());
    }
}

#[test]
fn a_host_of_which_nothing_is_known_is_shown_all_the_same() {
    shows("nothing.txt", &Facts::default(), UTF8, &[], 80, 24);
}

#[test]
fn a_frame_is_as_it_always_was() {
    equals("frame.txt", &plain::frame(&facts(), UTF8));
}

/// Of all views at all sizes nothing but moves of the cursor, colours, and letters that do nothing is written.
#[test]
fn hostile_names_do_nothing_to_a_terminal() {
    shows("hostile.txt", &hostile(), UTF8, &[], 80, 24);
    for view in 0..6 {
        for (columns, rows) in [(80, 24), (40, 10), (200, 60), (7, 3)] {
            let bytes = drawn(&hostile(), UTF8, &[Key::View(view)], columns, rows).difference(None, true);
            let text = String::from_utf8(bytes).expect("UTF-8");
            let mut pieces = text.split('\u{1b}');
            assert_eq!(pieces.next(), Some(""));
            for piece in pieces {
                let end = piece.find(['H', 'm']).expect("a move or a colour");
                assert!(
                    piece[..end].trim_start_matches('[').bytes().all(|byte| byte.is_ascii_digit() || byte == b';'),
                    "{piece}"
                );
                let letters = &piece[end + 1..];
                assert!(
                    !letters.chars().any(|letter| letter.is_control() || letter == '\u{202e}' || letter == '\u{200d}'),
                    "{letters:?}"
                );
            }
        }
    }
    let frame = plain::frame(&hostile(), UTF8);
    assert!(!frame.chars().any(|letter| letter.is_control() && letter != '\n'), "{frame}");
    assert_eq!(frame.lines().filter(|line| *line == "[HOST]").count(), 1, "a name has forged a section:\n{frame}");
}

#[test]
fn without_colours_nothing_is_coloured_and_what_is_wrong_is_still_marked() {
    let grid = drawn(&facts(), UTF8, &[], 80, 24);
    let has_colour = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split("\u{1b}[")
            .filter_map(|piece| piece.split_once('m'))
            .any(|(numbers, _)| numbers.split(';').any(|number| number.len() == 2 && number.starts_with('3')))
    };
    assert!(has_colour(&grid.difference(None, true)));
    assert!(!has_colour(&grid.difference(None, false)));
    let text: String = (0..24).map(|row| grid.row(row) + "\n").collect();
    assert!(text.contains("! NOT READY: whatsapp (logged_out)"), "{text}");
}

/// Every figure and every graph changes with every look here, which is more than they do.
#[test]
fn one_look_costs_at_most_four_kilobytes_on_the_line() {
    for (columns, rows) in [(80, 24), (200, 60), (400, 150)] {
        for view in 0..6 {
            let mut screen = Screen::new(UTF8);
            screen.press(Key::View(view));
            let mut history = history(90);
            let mut before = screen.draw(&later(90), &history, columns, rows);
            for look in 91..120 {
                history.add(&later(look));
                let next = screen.draw(&later(look), &history, columns, rows);
                let bytes = next.difference(Some(&before), true).len();
                assert!(bytes <= BYTES_PER_LOOK_MAX, "{bytes} bytes at {columns}x{rows}, view {view}, look {look}");
                before = next;
            }
        }
    }
}
