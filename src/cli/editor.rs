//! [`Editor`]: one line being typed. Keys in; a line, and what to show of it, out. Pure: `terminal.rs` reads and paints.
//!
//! The cursor is a byte position that is always a border of graphemes, so a letter with its accents moves as one.
//! Control characters are never shown as they are.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use crate::base::message::INBOUND_BYTES_MAX;
use crate::base::text::terminal_safe;

/// Lines that can be had back.
const HISTORY_LINES_MAX: usize = 200;

/// A longer line is refused by the turn, so that nothing is cut in silence; letters behind this are not even kept.
const LINE_BYTES_MAX: usize = INBOUND_BYTES_MAX + 4;

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named for what they do")]
pub enum Key {
    Letter(char),
    Left,
    Right,
    Home,
    End,
    Backspace,
    Delete,
    CutToStart,
    CutToEnd,
    CutWord,
    Older,
    Newer,
    Clear,
    /// Deletes like `Delete`; in an empty line it is the end of input.
    DeleteOrEnd,
    Enter,
}

/// What follows from a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Show the line again.
    Editing,
    /// The line is complete.
    Line(String),
    /// There will be no more.
    End,
}

/// The line and those before it.
#[derive(Debug, Default)]
pub struct Editor {
    text: String,
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown; its length while it is the new one.
    place: usize,
    /// The new line, kept while older ones are shown.
    draft: String,
}

impl Editor {
    /// Takes a key.
    pub fn press(&mut self, key: Key) -> Outcome {
        match key {
            Key::Letter(letter) => self.insert(letter),
            Key::Left => self.cursor = self.before(),
            Key::Right => self.cursor = self.after(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::DeleteOrEnd if self.text.is_empty() => return Outcome::End,
            Key::Backspace => self.cut(self.before(), self.cursor),
            Key::Delete | Key::DeleteOrEnd => self.cut(self.cursor, self.after()),
            Key::CutToStart => self.cut(0, self.cursor),
            Key::CutToEnd => self.cut(self.cursor, self.text.len()),
            Key::CutWord => self.cut(self.word_start(), self.cursor),
            Key::Clear => self.cut(0, self.text.len()),
            Key::Older => self.show_history(self.place.saturating_sub(1)),
            Key::Newer => self.show_history((self.place + 1).min(self.history.len())),
            Key::Enter => return Outcome::Line(self.take()),
        }
        Outcome::Editing
    }

    /// What fits into this many columns: the text in front of the cursor, and behind it. Wide graphemes take two
    /// columns; counting everything but ASCII as wide shows less than would fit, and never wraps.
    pub fn view(&self, columns: usize) -> (String, String) {
        let (front, behind) = self.text.split_at(self.cursor);
        let mut room = columns;
        let mut fits = |grapheme: &&str| {
            let width = width(grapheme);
            let fits = width <= room;
            room = if fits { room - width } else { 0 };
            fits
        };
        let shown: usize = front.graphemes(true).rev().take_while(&mut fits).map(str::len).sum();
        let front = &front[front.len() - shown..];
        let shown: usize = behind.graphemes(true).take_while(&mut fits).map(str::len).sum();
        (visible(front), visible(&behind[..shown]))
    }

    fn insert(&mut self, letter: char) {
        if self.text.len() + letter.len_utf8() <= LINE_BYTES_MAX {
            self.text.insert(self.cursor, letter);
            self.cursor += letter.len_utf8();
            self.settle();
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
        self.settle();
    }

    /// What was inserted or cut may have joined its neighbours: the cursor goes behind the whole.
    fn settle(&mut self) {
        let is_border = GraphemeCursor::new(self.cursor, self.text.len(), true).is_boundary(&self.text, 0);
        if is_border != Ok(true) {
            self.cursor = self.after();
        }
    }

    fn before(&self) -> usize {
        let border = GraphemeCursor::new(self.cursor, self.text.len(), true).prev_boundary(&self.text, 0);
        border.ok().flatten().unwrap_or(0)
    }

    fn after(&self) -> usize {
        let border = GraphemeCursor::new(self.cursor, self.text.len(), true).next_boundary(&self.text, 0);
        border.ok().flatten().unwrap_or(self.text.len())
    }

    /// Where the word that ends at the cursor starts, over the blanks behind it.
    fn word_start(&self) -> usize {
        let front = self.text[..self.cursor].trim_end();
        front.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8())
    }

    fn show_history(&mut self, place: usize) {
        if self.place == self.history.len() {
            self.draft.clone_from(&self.text);
        }
        self.place = place;
        self.text.clone_from(self.history.get(place).unwrap_or(&self.draft));
        self.cursor = self.text.len();
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        self.cursor = 0;
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY_LINES_MAX {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.place = self.history.len();
        line
    }
}

fn visible(text: &str) -> String {
    terminal_safe(text).replace(['\t', '\n'], " ")
}

fn width(grapheme: &str) -> usize {
    visible(grapheme).chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// `[name]` is a key, anything else its letters; the result has a `|` at the cursor.
    fn typed(editor: &mut Editor, keys: &str) -> String {
        let mut rest = keys;
        while let Some(letter) = rest.chars().next() {
            let (key, length) = match rest.strip_prefix('[').and_then(|named| named.split_once(']')) {
                Some((name, _)) => (named(name), name.len() + 2),
                None => (Key::Letter(letter), letter.len_utf8()),
            };
            editor.press(key);
            rest = &rest[length..];
        }
        let (front, behind) = editor.text.split_at(editor.cursor);
        format!("{front}|{behind}")
    }

    fn named(name: &str) -> Key {
        match name {
            "<" => Key::Left,
            ">" => Key::Right,
            "home" => Key::Home,
            "end" => Key::End,
            "bs" => Key::Backspace,
            "del" => Key::Delete,
            "^u" => Key::CutToStart,
            "^k" => Key::CutToEnd,
            "^w" => Key::CutWord,
            "up" => Key::Older,
            "down" => Key::Newer,
            "^c" => Key::Clear,
            "^d" => Key::DeleteOrEnd,
            "enter" => Key::Enter,
            other => panic!("no key {other}"),
        }
    }

    #[test]
    fn keys_edit_the_line() {
        for (keys, want) in [
            ("abc", "abc|"),
            ("abc[<][<]x", "ax|bc"),
            ("abc[home]x[end]y", "xabcy|"),
            ("[<][>][bs][del]", "|"),
            ("abc[<][bs]", "a|c"),
            ("abc[home][del]", "|bc"),
            ("abc[home][^d]", "|bc"),
            ("abc[<][^u]", "|c"),
            ("abc[home][>][^k]", "a|"),
            ("one two  [^w]", "one |"),
            ("one[^w][^w]", "|"),
            ("one two[<][^w]", "one |o"),
            ("abc[^c]d", "d|"),
            // Each of these is one grapheme: a letter with its accent, a flag, a family.
            ("ae\u{301}[bs]", "a|"),
            ("e\u{301}x[<][<]y", "y|e\u{301}x"),
            ("🇩🇪[<][del]", "|"),
            ("x👨\u{200d}👩\u{200d}👧[bs]", "x|"),
            // Typed in front of an accent, a letter takes it.
            ("\u{301}[home]e", "e\u{301}|"),
        ] {
            assert_eq!(typed(&mut Editor::default(), keys), want, "{keys}");
        }
    }

    #[test]
    fn earlier_lines_come_back_and_the_new_one_is_kept() {
        for (keys, want) in [
            ("one[enter]two[enter]new[up]", "two|"),
            ("one[enter]two[enter]new[up][up][up]", "one|"),
            ("one[enter]two[enter]new[up][up][down][down][down]", "new|"),
            ("one[enter]one[enter] [enter][up][up]", "one|"),
            ("one[enter]two[enter][up][up]![enter][up]", "one!|"),
            ("one[enter]two[enter][up][up]![enter][up][up][up]", "one|"),
            ("[up][down]x", "x|"),
        ] {
            assert_eq!(typed(&mut Editor::default(), keys), want, "{keys}");
        }
        let mut editor = Editor::default();
        (0..HISTORY_LINES_MAX + 5).for_each(|number| drop(typed(&mut editor, &format!("{number}[enter]"))));
        assert_eq!((editor.history.len(), editor.history[0].as_str()), (HISTORY_LINES_MAX, "5"));
    }

    #[test]
    fn lines_end_with_enter_and_input_with_the_end_key_in_an_empty_line() {
        let mut editor = Editor::default();
        assert_eq!(editor.press(Key::Letter('a')), Outcome::Editing);
        assert_eq!(editor.press(Key::DeleteOrEnd), Outcome::Editing);
        assert_eq!(editor.press(Key::Enter), Outcome::Line("a".into()));
        assert_eq!(editor.press(Key::DeleteOrEnd), Outcome::End);
    }

    #[test]
    fn the_part_around_the_cursor_is_shown_and_nothing_that_moves_it() {
        for (keys, columns, want) in [
            ("abc[<]", 10, ("ab", "c")),
            ("abcdefgh", 4, ("efgh", "")),
            ("abcdefgh[home]", 4, ("", "abcd")),
            ("abcdefgh[home][>][>][>]", 5, ("abc", "de")),
            ("ä漢漢", 5, ("漢漢", "")),
            ("a\u{1b}b\t.", 20, ("a\\u{1b}b .", "")),
        ] {
            let mut editor = Editor::default();
            typed(&mut editor, keys);
            assert_eq!(editor.view(columns), (want.0.to_owned(), want.1.to_owned()), "{keys}");
        }
    }

    /// Seen to fail without `settle`.
    #[test]
    fn the_cursor_stays_on_a_border_and_the_line_within_its_limit() {
        let letters = ['a', ' ', '\u{301}', '\u{200d}', '👩', '🇩', '🇪', '漢'];
        let names = ["<", ">", "home", "end", "bs", "del", "^u", "^k", "^w", "up", "down", "^c", "enter"];
        for seed in 0..40 {
            let (mut rng, mut editor) = (Rng::from_seed(seed), Editor::default());
            for step in 0..400 {
                let choice = usize::try_from(rng.bits() % 40).expect("small");
                let key = names.get(choice).map_or(Key::Letter(letters[choice % letters.len()]), |name| named(name));
                editor.press(key);
                let is_border =
                    GraphemeCursor::new(editor.cursor, editor.text.len(), true).is_boundary(&editor.text, 0);
                assert_eq!(is_border, Ok(true), "seed {seed} step {step}: {editor:?}");
                let (front, behind) = editor.view(12);
                assert!(front.chars().chain(behind.chars()).count() <= 12, "seed {seed} step {step}");
            }
        }
        let mut editor = Editor::default();
        (0..LINE_BYTES_MAX + 9).for_each(|_| drop(editor.press(Key::Letter('x'))));
        assert_eq!(editor.text.len(), LINE_BYTES_MAX);
    }
}
