//! [`Line`]: one label and what there is to say, and words for figures. [`Glyphs`] is the one way of foreign text onto a
//! screen or into a frame. Pure.

use std::time::Duration;

use crate::base::clock::Wall;
use crate::monitor::history::Graph;

/// How something is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it should be, or neither good nor bad.
    #[default]
    Plain,
    /// Good.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// A title.
    Heading,
    /// A label, or an aside.
    Faint,
}

/// How small a screen may be that still shows a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// In its own view, and where there is plenty of room.
    #[default]
    Detail,
    /// On an ordinary screen.
    Brief,
    /// Always.
    Vital,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Named as earlier frames named it.
    pub label: &'static str,
    /// What there is to say; as it came from outside.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// Where it is shown.
    pub weight: Weight,
    /// What is drawn behind it.
    pub graph: Option<Graph>,
    /// In a frame without a screen it stands behind the line before.
    pub is_joined: bool,
}

/// A plain detail.
pub fn line(label: &'static str, text: impl Into<String>) -> Line {
    Line { label, text: text.into(), ..Line::default() }
}

impl Line {
    /// With this tone.
    pub fn tone(self, tone: Tone) -> Line {
        Line { tone, ..self }
    }

    /// Bad, or as it was.
    pub fn bad_if(self, is_bad: bool) -> Line {
        if is_bad { self.tone(Tone::Bad).vital() } else { self }
    }

    /// To be looked at, or as it was.
    pub fn warning_if(self, is_odd: bool) -> Line {
        if is_odd { self.tone(Tone::Warning) } else { self }
    }

    /// On an ordinary screen, too.
    pub fn brief(self) -> Line {
        Line { weight: Weight::Brief, ..self }
    }

    /// On every screen.
    pub fn vital(self) -> Line {
        Line { weight: Weight::Vital, ..self }
    }

    /// With a graph.
    pub fn graph(self, graph: Graph) -> Line {
        Line { graph: Some(graph), ..self }
    }

    /// Behind the line before.
    pub fn joined(self) -> Line {
        Line { is_joined: true, ..self }
    }
}

/// A title and what is under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// As earlier frames have it, in brackets.
    pub title: &'static str,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// How text may be shown: which letters the locale has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// Whether the terminal reads UTF-8.
    pub is_utf8: bool,
}

impl Glyphs {
    /// Letters with the columns they take, in order. Whatever could move the cursor, hide, join or reorder letters, or
    /// whose width terminals do not agree about, becomes a visible `\u{…}`. Line breaks and tabs become blanks.
    pub fn letters(self, text: &str) -> Vec<(char, usize)> {
        let mut letters = Vec::with_capacity(text.len());
        for letter in text.chars() {
            match (letter, width(letter).filter(|_| self.is_utf8 || letter.is_ascii())) {
                ('\n' | '\t', _) => letters.push((' ', 1)),
                (_, Some(width)) => letters.push((letter, width)),
                (_, None) => letters.extend(letter.escape_unicode().map(|letter| (letter, 1))),
            }
        }
        letters
    }

    /// The same as text.
    pub fn text(self, text: &str) -> String {
        self.letters(text).into_iter().map(|(letter, _)| letter).collect()
    }

    /// A step of a graph.
    pub fn step(self, step: Option<u8>) -> char {
        let ladder = if self.is_utf8 { STEPS } else { STEPS_ASCII };
        step.map_or(' ', |step| ladder[usize::from(step).min(ladder.len() - 1)])
    }
}

const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const STEPS_ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Columns of letters that every terminal agrees about; `None` for all others.
fn width(letter: char) -> Option<usize> {
    match letter {
        ' '..='~' => Some(1),
        '\u{ad}' => None, // soft hyphen
        // Latin, Greek, Cyrillic; then dashes and quotes, signs, arrows, boxes and blocks.
        '\u{a1}'..='\u{2ff}' | '\u{370}'..='\u{482}' | '\u{48a}'..='\u{52f}' | '\u{1e00}'..='\u{1eff}' => Some(1),
        '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20bf}' | '\u{2190}'..='\u{21ff}' => {
            Some(1)
        }
        '\u{2500}'..='\u{259f}' => Some(1),
        // Kana, Han, Hangul, full-width forms. The two marks among them join the letter before.
        '\u{302a}'..='\u{302f}' | '\u{3099}' | '\u{309a}' => None,
        '\u{3001}'..='\u{3029}' | '\u{3041}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => {
            Some(2)
        }
        '\u{ff01}'..='\u{ff60}' => Some(2),
        _ => None,
    }
}

/// Bytes with two decimals, as earlier frames had them.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog2() / 10).min(4);
    // Whole numbers, because the formatting of fractions costs more than the rest of this file.
    let hundredths = (u128::from(bytes) * 100) >> (10 * unit);
    format!("{}.{:02} {}", hundredths / 100, hundredths % 100, UNITS[unit as usize - 1])
}

/// A figure that may be unknown.
pub fn known<T: ToString>(figure: Option<T>) -> String {
    figure.map_or_else(|| "n/a".to_owned(), |figure| figure.to_string())
}

/// Hundredths with one decimal.
pub fn percent(percent: Option<f64>) -> String {
    percent.map_or_else(|| "n/a".to_owned(), |percent| tenths((percent * 10.0).round() as i64) + "%")
}

/// A tenth as a number with one decimal.
pub fn tenths(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    format!("{sign}{}.{}", tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10)
}

/// A span in its largest fitting unit.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long ago, in milliseconds since 1970; a date in the future is now.
pub fn ago(at: u64, now: Wall) -> String {
    span(Wall(at).until(now)) + " ago"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_words() {
        for (figure, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_536_000, "1.46 MiB"),
            (3 << 30, "3.00 GiB"),
            (u64::MAX, "16777215.99 TiB"),
        ] {
            assert_eq!(bytes(figure), want);
        }
        assert_eq!([percent(None), percent(Some(0.04)), percent(Some(99.96))], ["n/a", "0.0%", "100.0%"]);
        assert_eq!(tenths(-5), "-0.5");
        assert_eq!(
            [1, 119, 120, 7200, 200_000].map(|secs| span(Duration::from_secs(secs))),
            ["1 s", "119 s", "2 min", "2 h", "2 days"]
        );
        assert_eq!([ago(1000, Wall(4000)), ago(9000, Wall(4000))], ["3 s ago", "0 s ago"]);
    }

    /// Titles, clipboard and device queries, colours, bidi, joiners, tags, combining marks, and C1.
    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_is_shown_as_it_is() {
        let hostile = "\u{1b}]0;t\u{7}\u{1b}]52;c;eA==\u{7}\u{1b}[c\u{9b}31m\u{202e}\u{200d}\u{e0041}e\u{301}\r\u{8}\u{7f}\u{ad}\u{3099}👩";
        for is_utf8 in [true, false] {
            let shown = Glyphs { is_utf8 }.text(hostile);
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
            assert!(shown.starts_with("\\u{1b}]0;t\\u{7}"), "{shown}");
        }
        assert_eq!(Glyphs { is_utf8: true }.text("a\nb\tc äß Ж漢"), "a b c äß Ж漢");
        assert_eq!(Glyphs { is_utf8: false }.text("ä"), "\\u{e4}");
        assert_eq!(Glyphs { is_utf8: true }.letters("漢a"), [('漢', 2), ('a', 1)]);
    }
}
