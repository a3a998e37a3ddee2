//! [`Grid`]: the cells of a screen, and [`Grid::difference`], the bytes that turn one grid into the next. Only what
//! changed is written, so that a slow line has little to carry. Pure.
//!
//! The last cell of the last row stays blank, because some terminals scroll when it is written.

use std::io::Write;

use crate::monitor::line::Tone;

/// Cells in a row; a wider terminal is used up to here.
pub const COLUMNS_MAX: u16 = 400;

/// Rows; a higher terminal is used up to here.
pub const ROWS_MAX: u16 = 150;

/// So many unchanged cells are written again: that is no longer than moving the cursor over them.
const GAP_MAX: usize = 5;

/// Behind a wide letter: the cell that it covers, too.
const COVERED: char = '\0';

/// Makes any screen blank.
pub const CLEAR: &[u8] = b"\x1b[0m\x1b[2J";

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    letter: char,
    tone: Tone,
    is_reversed: bool,
}

const BLANK: Cell = Cell { letter: ' ', tone: Tone::Plain, is_reversed: false };

/// The cells of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
}

impl Grid {
    /// A blank one, of this size or the largest we draw.
    pub fn blank(columns: u16, rows: u16) -> Grid {
        let (columns, rows) = (columns.clamp(1, COLUMNS_MAX).into(), rows.clamp(1, ROWS_MAX).into());
        Grid { columns, rows, cells: vec![BLANK; columns * rows] }
    }

    /// Cells in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Puts letters of [`crate::monitor::line::Glyphs`] into a row, up to column `end`. Returns the column behind them.
    /// What lies outside is left out.
    pub fn put(&mut self, row: usize, column: usize, end: usize, letters: &[(char, usize)], tone: Tone) -> usize {
        let is_last_row = row + 1 == self.rows;
        let end = end.min(self.columns - usize::from(is_last_row));
        let mut at = column;
        for &(letter, width) in letters {
            if row >= self.rows || at + width > end {
                break;
            }
            for (offset, letter) in [letter, COVERED].into_iter().take(width).enumerate() {
                self.cells[row * self.columns + at + offset] = Cell { letter, tone, is_reversed: false };
            }
            at += width;
        }
        at
    }

    /// Turns the colours of a part of a row around.
    pub fn reverse(&mut self, row: usize, from: usize, to: usize) {
        let (start, end) = (row * self.columns, (row + 1) * self.columns);
        let row = self.cells.get_mut(start..end).unwrap_or_default();
        for cell in row.iter_mut().take(to).skip(from) {
            cell.is_reversed = true;
        }
    }

    /// The bytes that make `self` of what `before` left on the screen, which is of the same size; without it, of a
    /// blank screen. Ends without colours.
    pub fn difference(&self, before: Option<&Grid>, has_colour: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let same_size = before.filter(|before| before.cells.len() == self.cells.len());
        let old = |at: usize| same_size.map_or(BLANK, |before| before.cells[at]);
        let last = self.cells.len() - 1;
        let mut pen = BLANK;
        for row in 0..self.rows {
            let start = row * self.columns;
            let mut cursor = None;
            for column in 0..self.columns {
                let at = start + column;
                if at == last || self.cells[at] == old(at) || self.cells[at].letter == COVERED {
                    continue;
                }
                let from = cursor.filter(|from| column - from <= GAP_MAX);
                if from.is_none() {
                    // Writing to a vector cannot fail, here and below.
                    let _ = write!(bytes, "\x1b[{};{}H", row + 1, column + 1);
                }
                for cell in &self.cells[start + from.unwrap_or(column)..=at] {
                    paint(&mut bytes, &mut pen, *cell, has_colour);
                }
                cursor = Some(column + 1);
            }
        }
        if (pen.tone, pen.is_reversed) != (BLANK.tone, BLANK.is_reversed) {
            bytes.extend_from_slice(b"\x1b[m");
        }
        bytes
    }

    /// The letters of a row, without blanks at its end.
    pub fn row(&self, row: usize) -> String {
        let cells = self.cells.iter().skip(row * self.columns).take(self.columns);
        let text: String = cells.map(|cell| cell.letter).filter(|letter| *letter != COVERED).collect();
        text.trim_end().to_owned()
    }
}

fn paint(bytes: &mut Vec<u8>, pen: &mut Cell, cell: Cell, has_colour: bool) {
    if cell.letter == COVERED {
        return;
    }
    if (pen.tone, pen.is_reversed) != (cell.tone, cell.is_reversed) {
        bytes.extend_from_slice(b"\x1b[0");
        bytes.extend_from_slice(attributes(cell.tone, has_colour));
        bytes.extend_from_slice(if cell.is_reversed { b";7m" } else { b"m" });
        *pen = cell;
    }
    bytes.extend_from_slice(cell.letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Bold is no colour: it stays where colours are not wanted.
fn attributes(tone: Tone, has_colour: bool) -> &'static [u8] {
    match (tone, has_colour) {
        (Tone::Good, true) => b";32",
        (Tone::Warning, true) => b";33",
        (Tone::Bad, true) => b";1;31",
        (Tone::Faint, true) => b";36",
        (Tone::Bad | Tone::Heading, _) => b";1",
        (Tone::Plain | Tone::Good | Tone::Warning | Tone::Faint, _) => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::monitor::line::Glyphs;

    fn put(grid: &mut Grid, row: usize, column: usize, text: &str) -> usize {
        grid.put(row, column, usize::MAX, &Glyphs { is_utf8: true }.letters(text), Tone::Plain)
    }

    /// What a terminal makes of our bytes: cursor, letters and attributes; nothing else may come.
    fn apply(screen: &mut Grid, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        let (mut row, mut column, mut pen) = (0, 0, BLANK);
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if letter != '\u{1b}' {
                let width = Glyphs { is_utf8: true }.letters(&letter.to_string())[0].1;
                assert_ne!((row, column), (screen.rows - 1, screen.columns - 1), "the last cell was written");
                for (offset, letter) in [letter, COVERED].into_iter().take(width).enumerate() {
                    screen.cells[row * screen.columns + column + offset] = Cell { letter, ..pen };
                }
                column += width;
                continue;
            }
            let end = rest.find(|letter: char| letter.is_ascii_alphabetic()).expect("a whole sequence");
            let (numbers, kind) = (&rest[1..end], rest.as_bytes()[end]);
            match kind {
                b'H' => {
                    let (at_row, at_column) = numbers.split_once(';').expect("two numbers");
                    (row, column) =
                        (at_row.parse::<usize>().expect("row") - 1, at_column.parse::<usize>().expect("column") - 1);
                }
                b'm' => {
                    pen.is_reversed = numbers.ends_with(";7");
                    let tones = [Tone::Plain, Tone::Good, Tone::Warning, Tone::Bad, Tone::Heading, Tone::Faint];
                    let wanted = numbers.trim_start_matches('0').trim_end_matches(";7").as_bytes();
                    pen.tone = tones.into_iter().find(|tone| attributes(*tone, true) == wanted).expect("a tone");
                }
                other => panic!("sequence {}", char::from(other)),
            }
            rest = &rest[end + 1..];
        }
        assert_eq!((pen.tone, pen.is_reversed), (Tone::Plain, false), "the colours stay on");
    }

    #[test]
    fn nothing_changed_is_nothing_written_and_one_letter_is_a_few_bytes() {
        let mut before = Grid::blank(80, 24);
        put(&mut before, 3, 5, "load 0.42 0.10");
        assert_eq!(before.difference(Some(&before), true), b"");
        let mut next = before.clone();
        put(&mut next, 3, 10, "1");
        assert_eq!(next.difference(Some(&before), true), b"\x1b[4;11H1");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut grid = Grid::blank(5, 2);
        assert_eq!(put(&mut grid, 0, 0, "漢漢漢"), 4);
        assert_eq!((put(&mut grid, 1, 2, "abc"), put(&mut grid, 2, 0, "abc")), (4, 0));
        assert_eq!([grid.row(0), grid.row(1)], ["漢漢", "  ab"]);
        grid.reverse(9, 0, 99);
        grid.reverse(0, 0, 99);
        assert_eq!(Grid::blank(0, 0).difference(None, true), b"");
        assert_eq!(Grid::blank(u16::MAX, u16::MAX).cells.len(), usize::from(COLUMNS_MAX) * usize::from(ROWS_MAX));
    }

    /// Seen to fail without the rule about covered cells, and with a cursor that is kept over the rows.
    #[test]
    fn the_difference_makes_the_screen_what_it_should_be_whatever_it_was() {
        let words = ["", "a", "load 1.5", "漢字 x", "▁▂█", "  ", "wait: 3 min ago"];
        let tones = [Tone::Plain, Tone::Good, Tone::Warning, Tone::Bad, Tone::Heading, Tone::Faint];
        for seed in 0..60 {
            let mut rng = Rng::from_seed(seed);
            let mut pick = |most: usize| usize::try_from(rng.bits() % most as u64).expect("small");
            let mut screen = Grid::blank(24, 6);
            let mut before: Option<Grid> = None;
            for step in 0..30 {
                let mut next = before.clone().filter(|_| pick(3) > 0).unwrap_or_else(|| Grid::blank(24, 6));
                for _ in 0..pick(6) {
                    let letters = Glyphs { is_utf8: true }.letters(words[pick(words.len())]);
                    let (row, column, tone) = (pick(6), pick(24), tones[pick(tones.len())]);
                    clear_halves(&mut next, row);
                    next.put(row, column, 24, &letters, tone);
                }
                next.reverse(pick(6), pick(12), 12 + pick(12));
                apply(&mut screen, &next.difference(before.as_ref(), true));
                let last = next.cells.len() - 1;
                assert_eq!(shown(&screen)[..last], shown(&next)[..last], "seed {seed} step {step}");
                before = Some(next);
            }
        }
    }

    /// A wide letter has one tone: that of its first half.
    fn shown(grid: &Grid) -> Vec<Cell> {
        let cells = grid.cells.iter();
        cells.map(|cell| if cell.letter == COVERED { Cell { letter: COVERED, ..BLANK } } else { *cell }).collect()
    }

    /// Frames are drawn on blank grids, so a letter is never put over half of another; here the row is wiped first.
    fn clear_halves(grid: &mut Grid, row: usize) {
        let columns = grid.columns;
        grid.cells[row * columns..(row + 1) * columns].fill(BLANK);
    }
}
