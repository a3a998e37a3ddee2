//! [`Screen`]: which view is shown, how far it is scrolled, and what a key does; [`Screen::draw`] puts facts into cells.
//! Pure: `cli` reads keys and writes bytes.

use crate::monitor::facts::Facts;
use crate::monitor::history::{History, SAMPLES_MAX};
use crate::monitor::line::{Glyphs, Line, Section, Tone, Weight, line};
use crate::monitor::plain;
use crate::monitor::screen::Grid;

/// The views; their number is the key. All sections, then one each.
const VIEWS: [&str; 6] = ["all", "app", "channels", "process", "host", "storage"];

/// From here on the overview has two columns.
const TWO_COLUMNS_FROM: usize = 120;

/// From here on labels and graphs have columns of their own.
const WIDE_FROM: usize = 60;

/// Fewer rows have no titles, and only what is vital.
const TALL_FROM: usize = 16;

/// From here on the overview has every detail.
const DETAIL_FROM: usize = 44;

/// Where graphs begin there, unless a text is longer.
const GRAPH_COLUMN: usize = 46;

/// A graph with fewer cells shows nothing.
const GRAPH_MIN: usize = 8;

/// What is said of the keys.
const HELP: [(&str, &str); 8] = [
    ("q", "quit, as do Esc and Ctrl-C"),
    ("p", "pause and go on, as does the space bar"),
    ("1 to 6", "a view: all, app, channels, process, host, storage"),
    ("Tab", "the next view; left and right do, too"),
    ("up, down", "scroll by a line, as do k and j"),
    ("PgUp, PgDn", "scroll by a screen; Home and End go all the way"),
    ("r", "paint everything anew, as does Ctrl-L"),
    ("?", "show or leave this, as does h"),
];

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named for what they do")]
pub enum Key {
    Quit,
    Pause,
    Help,
    View(usize),
    NextView,
    PreviousView,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Redraw,
}

/// What is shown.
#[derive(Clone, Debug)]
pub struct Screen {
    glyphs: Glyphs,
    view: usize,
    scrolled: usize,
    is_helping: bool,
    /// Nothing is looked at while this is set.
    pub is_paused: bool,
    /// Rows of the body when it was last drawn, and of what there is to show.
    body: (usize, usize),
}

impl Screen {
    /// The overview, not scrolled.
    pub fn new(glyphs: Glyphs) -> Screen {
        Screen { glyphs, view: 0, scrolled: 0, is_helping: false, is_paused: false, body: (0, 0) }
    }

    /// Takes a key, but for those that end or repaint, which are the shell's.
    pub fn press(&mut self, key: Key) {
        let (page, all) = self.body;
        let last = all.saturating_sub(page);
        match key {
            Key::Quit | Key::Redraw => {}
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Help => self.show(self.view, !self.is_helping),
            Key::View(view) if view < VIEWS.len() => self.show(view, false),
            Key::View(_) => {}
            Key::NextView => self.show((self.view + 1) % VIEWS.len(), false),
            Key::PreviousView => self.show((self.view + VIEWS.len() - 1) % VIEWS.len(), false),
            Key::Up => self.scrolled = self.scrolled.saturating_sub(1),
            Key::Down => self.scrolled = (self.scrolled + 1).min(last),
            Key::PageUp => self.scrolled = self.scrolled.saturating_sub(page.max(1)),
            Key::PageDown => self.scrolled = (self.scrolled + page.max(1)).min(last),
            Key::Home => self.scrolled = 0,
            Key::End => self.scrolled = last,
        }
    }

    fn show(&mut self, view: usize, is_helping: bool) {
        (self.view, self.is_helping, self.scrolled) = (view, is_helping, 0);
    }

    /// The cells of a screen of this size.
    pub fn draw(&mut self, facts: &Facts, history: &History, columns: u16, rows: u16) -> Grid {
        let mut grid = Grid::blank(columns, rows);
        let (width, height) = (grid.columns(), grid.rows());
        let top = if height >= TALL_FROM { 2 } else { 1 };
        let page = height.saturating_sub(top + 1);
        let lists = self.lists(facts, width, height);
        let column = width / lists.len().max(1);
        let lists: Vec<Vec<Row>> =
            lists.iter().map(|sections| self.rows(sections, history, column.saturating_sub(1), height)).collect();
        let all = lists.iter().map(Vec::len).max().unwrap_or(0);
        self.body = (page, all);
        self.scrolled = self.scrolled.min(all.saturating_sub(page));
        for (at, rows) in lists.iter().enumerate() {
            for (row, pieces) in rows.iter().skip(self.scrolled).take(page).enumerate() {
                for piece in pieces {
                    let end = (at + 1) * column;
                    grid.put(top + row, at * column + piece.column, end, &piece.letters, piece.tone);
                }
            }
        }
        self.head(&mut grid, facts, top);
        self.foot(&mut grid);
        grid
    }

    /// Sections by column of the screen.
    fn lists(&self, facts: &Facts, width: usize, height: usize) -> Vec<Vec<Section>> {
        if self.is_helping {
            let lines = HELP.iter().map(|(keys, text)| line(keys, *text).vital()).collect();
            return vec![vec![Section { title: "KEYS", lines }]];
        }
        let mut sections = plain::sections(facts);
        if let Some(at) = self.view.checked_sub(1) {
            return vec![sections.into_iter().skip(at).take(1).collect()];
        }
        let least = match height {
            DETAIL_FROM.. => Weight::Detail,
            TALL_FROM.. => Weight::Brief,
            _ => Weight::Vital,
        };
        for section in &mut sections {
            section.lines.retain(|line| line.weight >= least);
        }
        let [application, channels, rest @ ..] = sections;
        if width < TWO_COLUMNS_FROM {
            return vec![[application, channels].into_iter().chain(rest).collect()];
        }
        vec![vec![application, channels], rest.into_iter().collect()]
    }

    fn rows(&self, sections: &[Section], history: &History, width: usize, height: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        // Where there is little room, a line for each fact is worth more than whole lines; the other views have those.
        let is_cut = height < TALL_FROM && self.view == 0 && !self.is_helping;
        for section in sections {
            if height >= TALL_FROM {
                let letters = self.glyphs.letters(&format!("[{}]", section.title));
                rows.push(vec![Piece { column: 0, letters, tone: Tone::Heading }]);
            }
            section.lines.iter().for_each(|line| self.add(&mut rows, line, history, width, is_cut));
        }
        rows
    }

    /// A label, its text in as many rows as it needs, and behind the last of them the graph, if it fits.
    fn add(&self, rows: &mut Vec<Row>, line: &Line, history: &History, width: usize, is_cut: bool) {
        let is_wide = width >= WIDE_FROM;
        let indent = if is_wide { 16 } else { 13 };
        let mut letters = self.glyphs.letters(line.label);
        letters.truncate(indent - 2);
        let mut row = vec![Piece { column: 1, letters, tone: Tone::Faint }];
        let mut behind = indent;
        // What is wrong is marked by more than its colour.
        let mark = if matches!(line.tone, Tone::Bad | Tone::Warning) { "! " } else { "" };
        let letters = self.glyphs.letters(&format!("{mark}{}", line.text));
        let room = width.saturating_sub(indent);
        let letters = if is_cut { cut(letters, room) } else { letters };
        for (at, letters) in wrapped(&letters, room).into_iter().enumerate() {
            if at > 0 {
                rows.push(std::mem::take(&mut row));
            }
            behind = indent + letters.iter().map(|(_, width)| width).sum::<usize>();
            row.push(Piece { column: indent, letters: letters.to_vec(), tone: line.tone });
        }
        if let Some(graph) = line.graph {
            let column = (behind + 2).max(if is_wide { GRAPH_COLUMN } else { 0 });
            let room = width.saturating_sub(column).min(SAMPLES_MAX);
            if room >= GRAPH_MIN {
                let steps = history.steps(graph, room);
                let letters = steps.into_iter().map(|step| (self.glyphs.step(step), 1)).collect();
                row.push(Piece { column, letters, tone: Tone::Plain });
            }
        }
        rows.push(row);
    }

    fn head(&self, grid: &mut Grid, facts: &Facts, rows: usize) {
        let width = grid.columns();
        let time = facts.at.rfc3339();
        let pause = if self.is_paused { "  PAUSED" } else { "" };
        let view = if self.is_helping { "help" } else { VIEWS[self.view] };
        let title = match width {
            WIDE_FROM.. => {
                format!("Rusty Pinch Monitor  {}Z  every {} ms{pause}", &time[..19], facts.asked.interval_ms)
            }
            _ => format!("{}Z {view}{pause}", &time[11..19]),
        };
        grid.put(0, 0, width, &self.glyphs.letters(&title), Tone::Heading);
        grid.reverse(0, 0, width);
        if rows > 1 {
            let mut column = 0;
            for (at, name) in VIEWS.iter().enumerate() {
                let is_shown = at == self.view && !self.is_helping;
                let from = column;
                let tone = if is_shown { Tone::Heading } else { Tone::Faint };
                column = grid.put(1, column, width, &self.glyphs.letters(&format!(" {} {name} ", at + 1)), tone);
                if is_shown {
                    grid.reverse(1, from, column);
                }
            }
        }
    }

    fn foot(&self, grid: &mut Grid) {
        let (width, row) = (grid.columns(), grid.rows() - 1);
        if row == 0 {
            return;
        }
        let (page, all) = self.body;
        let place = match all > page {
            true => format!("  {}-{} of {all}", self.scrolled + 1, (self.scrolled + page).min(all)),
            false => String::new(),
        };
        let keys = if width >= WIDE_FROM { "q quit  p pause  ? help  Tab view  up/down scroll" } else { "q p ? Tab" };
        grid.put(row, 0, width, &self.glyphs.letters(&format!("{keys}{place}")), Tone::Faint);
    }
}

/// Letters of one tone at a place of a row.
#[derive(Clone, Debug)]
struct Piece {
    column: usize,
    letters: Vec<(char, usize)>,
    tone: Tone,
}

type Row = Vec<Piece>;

/// What fits, with a mark at its end if that is not all.
fn cut(mut letters: Vec<(char, usize)>, width: usize) -> Vec<(char, usize)> {
    let mut columns: usize = letters.iter().map(|(_, width)| width).sum();
    let is_whole = columns <= width;
    while columns >= width && !is_whole {
        let Some((_, last)) = letters.pop() else { break };
        columns -= last;
    }
    if !is_whole {
        letters.push(('~', 1));
    }
    letters
}

/// Cuts letters into rows of at most `width` columns, at a blank where one is near the end. At least one, maybe empty.
fn wrapped(letters: &[(char, usize)], width: usize) -> Vec<&[(char, usize)]> {
    let mut rows = Vec::new();
    let mut rest = letters;
    loop {
        let mut columns = 0;
        let fits = rest.iter().take_while(|(_, width_of)| {
            columns += width_of;
            columns <= width
        });
        // One letter at least, or a narrow screen would never end.
        let fits = fits.count().max(1);
        if fits >= rest.len() {
            rows.push(rest);
            return rows;
        }
        let blank = rest[..=fits].iter().rposition(|(letter, _)| *letter == ' ').filter(|at| *at > fits / 3);
        rows.push(&rest[..blank.unwrap_or(fits)]);
        rest = &rest[blank.map_or(fits, |at| at + 1)..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wraps(text: &str, width: usize, want: &[&str]) {
        let letters = Glyphs { is_utf8: true }.letters(text);
        let rows: Vec<String> =
            wrapped(&letters, width).iter().map(|row| row.iter().map(|(letter, _)| letter).collect()).collect();
        assert_eq!(rows, want, "{text} in {width}");
    }

    #[test]
    fn text_is_wrapped_at_blanks_and_never_lost() {
        wraps("", 5, &[""]);
        wraps("abc", 3, &["abc"]);
        wraps("abc def", 3, &["abc", "def"]);
        wraps("abc de f", 5, &["abc", "de f"]);
        wraps("abcdefg", 3, &["abc", "def", "g"]);
        wraps("漢漢漢", 5, &["漢漢", "漢"]);
        wraps("漢漢", 1, &["漢", "漢"]);
        wraps("ab", 0, &["a", "b"]);
        wraps(" ab", 2, &[" a", "b"]);
    }

    #[test]
    fn what_is_cut_says_so() {
        let cut = |text: &str, width| cut(Glyphs { is_utf8: true }.letters(text), width);
        let text = |letters: Vec<(char, usize)>| letters.into_iter().map(|(letter, _)| letter).collect::<String>();
        assert_eq!([text(cut("abc", 3)), text(cut("abcd", 3)), text(cut("漢漢", 3))], ["abc", "ab~", "漢~"]);
        assert_eq!([text(cut("", 0)), text(cut("ab", 1)), text(cut("ab", 0))], ["", "~", "~"]);
    }

    #[test]
    fn any_key_on_any_size_draws_without_end_or_panic() {
        let (facts, history) = (Facts::default(), History::default());
        let keys =
            [Key::Down, Key::End, Key::PageUp, Key::NextView, Key::Help, Key::PageDown, Key::View(9), Key::Pause];
        for is_utf8 in [true, false] {
            let mut screen = Screen::new(Glyphs { is_utf8 });
            for (columns, rows) in [(0, 0), (1, 1), (2, 5), (13, 3), (40, 10), (80, 24), (200, 60), (u16::MAX, 7)] {
                for key in keys.into_iter().chain([Key::PreviousView, Key::Home, Key::Up]) {
                    screen.press(key);
                    let grid = screen.draw(&facts, &history, columns, rows);
                    assert!(grid.columns() >= usize::from(columns.clamp(1, 400)));
                }
            }
        }
    }

    #[test]
    fn scrolling_ends_at_both_ends() {
        let (facts, history) = (Facts::default(), History::default());
        let mut screen = Screen::new(Glyphs { is_utf8: true });
        screen.press(Key::Help);
        let shown = |screen: &mut Screen, key| {
            screen.press(key);
            screen.draw(&facts, &history, 80, 8).row(1)
        };
        let first = shown(&mut screen, Key::Home);
        let last = shown(&mut screen, Key::End);
        assert_ne!(first, last);
        assert_eq!([shown(&mut screen, Key::Down), shown(&mut screen, Key::PageDown)], [last.clone(), last.clone()]);
        assert_eq!([shown(&mut screen, Key::Home), shown(&mut screen, Key::Up)], [first.clone(), first]);
    }
}
