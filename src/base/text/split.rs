//! The splitter: a reply in parts of at most `units_max` UTF-16 units, the unit in which chat services count.
//!
//! It reads one window at a time and remembers the last place of each kind where a cut would do:
//!
//! ```text
//! blank line > newline > sentence end > space > between clusters > just before a run of backticks
//! ```
//!
//! The best kind that leaves the part at least half full wins, else the last white space if it leaves an eighth, else
//! the end of the window. Inside a fenced code block the room for the closing line is kept free, and the next part opens
//! the block again. Only white space may vanish, and only at a cut; the indentation of the next line stays.
//! The work is linear in the text: no window is read further than one part and the white space after it.

use unicode_segmentation::UnicodeSegmentation;

use crate::base::text::{truncate_bytes, utf16_len};

/// A line can open or close a code block only while it is at most this part of `units_max`, so that both lines which a
/// cut adds leave half of the part for the text.
const FENCE_LINE_SHARE: usize = 4;
/// A good place must leave the part at least 1/2 full; any white space must leave it 1/8 full.
const BEST_SHARE: usize = 2;
const WHITE_SHARE: usize = 8;
const SENTENCE_ENDS: [char; 9] = ['.', '!', '?', '…', '。', '！', '？', '؟', '।'];
/// These end a sentence without a space after them.
const SENTENCE_ENDS_WIDE: [char; 3] = ['。', '！', '？'];
const CLOSERS: [char; 10] = ['"', '\'', ')', ']', '”', '’', '»', '」', '』', '）'];

/// The text not yet given out, and what the reader of the next part must know.
pub(super) struct Splitter<'a> {
    rest: &'a str,
    line_start: bool,
    fence: Option<Fence<'a>>,
    units_max: usize,
}

/// An open code block: the line that opens it again, and the backticks that close it.
#[derive(Clone, Copy)]
struct Fence<'a> {
    opening: &'a str,
    marker: &'a str,
}

/// One cluster, or one whole line that opens or closes a code block; `fence` is what is open after it.
struct Token<'a> {
    text: &'a str,
    fence: Option<Fence<'a>>,
    opens: bool,
}

/// What to do with the start of the rest.
enum Found<'a> {
    Last { end: usize },
    Cut(Cut<'a>),
    Nothing,
}

/// A place where a part may end: `end` in the rest, the units of the part until there, the block open there.
#[derive(Clone, Copy)]
struct Cut<'a> {
    end: usize,
    units: usize,
    fence: Option<Fence<'a>>,
}

/// Kinds of places, worst first. A cut just before three backticks in the middle of a line would make them look like the
/// start of a block, and a cut just after the line that opens a block would leave an empty one.
#[derive(Clone, Copy)]
enum Kind {
    Forced,
    Cluster,
    Space,
    Sentence,
    Line,
    Blank,
}

impl Iterator for Splitter<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while !self.rest.trim_start().is_empty() {
            let opening = self.fence.map(|fence| fence.opening);
            match self.read_part() {
                Found::Last { end } => {
                    let part = joined(opening, &self.rest[..end], None);
                    self.rest = "";
                    return Some(part);
                }
                Found::Cut(cut) => {
                    let part = joined(opening, &self.rest[..cut.end], cut.fence.map(|fence| fence.marker));
                    self.fence = cut.fence;
                    self.go_to(cut.end);
                    self.skip_closing_line();
                    return Some(part);
                }
                Found::Nothing => {
                    if let Some(part) = self.take_alone() {
                        return Some(part);
                    }
                }
            }
        }
        None
    }
}

impl<'a> Splitter<'a> {
    /// A `units_max` below 2 counts as 2: no smaller part can hold every character.
    pub(super) fn new(text: &'a str, units_max: usize) -> Splitter<'a> {
        Splitter { rest: text, line_start: true, fence: None, units_max: units_max.max(2) }
    }

    /// Reads until the part is full or the text ends.
    fn read_part(&self) -> Found<'a> {
        let mut window = Window::new(self.rest, self.fence, self.units_max);
        let mut line_start = self.line_start;
        let mut at = 0;
        while at < self.rest.len() {
            let token = self.next_token(at, line_start, window.fence);
            if is_blank(token.text) {
                window.add_gap(token.text);
            } else {
                window.offer_gap();
                if !window.add(&token) {
                    return window.choose();
                }
            }
            line_start = token.text.ends_with('\n');
            at += token.text.len();
        }
        let end = if window.units + window.gap.units <= self.units_max { at } else { window.end };
        Found::Last { end }
    }

    fn next_token(&self, at: usize, line_start: bool, fence: Option<Fence<'a>>) -> Token<'a> {
        let rest = &self.rest[at..];
        if line_start && let Some(token) = fence_line(rest, fence, self.units_max / FENCE_LINE_SHARE) {
            return token;
        }
        Token { text: first_cluster(rest, self.units_max), fence, opens: false }
    }

    /// The rare start with no room for anything: white space that fills a part is dropped, a cluster that leaves no room
    /// for the lines of its code block goes without them, and one longer than a part is cut between its characters.
    fn take_alone(&mut self) -> Option<String> {
        let part = truncate_units(first_cluster(self.rest, self.units_max), self.units_max);
        self.go_to(part.len());
        (!is_blank(part)).then(|| part.to_string())
    }

    /// Drops what is before `end` and the white space after it, except the indentation of the next line.
    fn go_to(&mut self, end: usize) {
        let mut next = end;
        let mut line = None;
        while next < self.rest.len() {
            let cluster = first_cluster(&self.rest[next..], self.units_max);
            if !is_blank(cluster) {
                break;
            }
            next += cluster.len();
            if cluster.ends_with('\n') {
                line = Some(next);
            }
        }
        self.rest = &self.rest[line.unwrap_or(next)..];
        self.line_start = line.is_some();
    }

    /// A part that ended just before the end of its code block has closed it already, with the same line: the next one
    /// must not show an empty block.
    fn skip_closing_line(&mut self) {
        let (true, Some(open)) = (self.line_start, self.fence) else {
            return;
        };
        let closing = fence_line(self.rest, self.fence, self.units_max / FENCE_LINE_SHARE);
        if let Some(token) = closing.filter(|token| token.text.trim() == open.marker) {
            self.fence = token.fence;
            self.go_to(token.text.len());
        }
    }
}

/// A part while it is read: what it holds, the white space after that, and the last place of each kind.
struct Window<'a> {
    rest: &'a str,
    units_max: usize,
    end: usize,
    units: usize,
    fence: Option<Fence<'a>>,
    gap: Gap,
    after_opening: bool,
    cuts: [Option<Cut<'a>>; 6],
}

#[derive(Default)]
struct Gap {
    bytes: usize,
    units: usize,
    lines: usize,
}

impl<'a> Window<'a> {
    fn new(rest: &'a str, fence: Option<Fence<'a>>, units_max: usize) -> Window<'a> {
        let units = fence.map_or(0, |fence| utf16_len(fence.opening) + 1);
        Window { rest, units_max, end: 0, units, fence, gap: Gap::default(), after_opening: false, cuts: [None; 6] }
    }

    fn add_gap(&mut self, blank: &str) {
        self.gap.bytes += blank.len();
        self.gap.units += utf16_len(blank);
        self.gap.lines += usize::from(blank.ends_with('\n'));
    }

    /// White space has ended. The cut is before it, and `go_to` drops it.
    fn offer_gap(&mut self) {
        if self.gap.bytes == 0 || self.end == 0 || self.after_opening {
            return;
        }
        let kind = match self.gap.lines {
            0 if self.rest[self.end + self.gap.bytes..].starts_with("```") => return,
            0 if self.rest[..self.end].trim_end_matches(CLOSERS).ends_with(SENTENCE_ENDS) => Kind::Sentence,
            0 => Kind::Space,
            1 => Kind::Line,
            _ => Kind::Blank,
        };
        self.offer(kind);
    }

    /// False when the token, with the white space before it, is too much.
    fn add(&mut self, token: &Token<'a>) -> bool {
        let units = self.units + self.gap.units + utf16_len(token.text);
        if units > self.units_max {
            return false;
        }
        self.units = units;
        self.end += self.gap.bytes + token.text.len();
        self.fence = token.fence;
        self.after_opening = token.opens;
        self.gap = Gap::default();
        self.offer(Kind::Forced);
        let next = &self.rest[self.end..];
        if !token.opens && !next.starts_with("```") {
            let wide = token.text.ends_with(SENTENCE_ENDS_WIDE) && !next.starts_with(CLOSERS);
            self.offer(if wide { Kind::Sentence } else { Kind::Cluster });
        }
        true
    }

    fn offer(&mut self, kind: Kind) {
        let closing = self.fence.map_or(0, |fence| fence.marker.len() + 1);
        if self.units + closing <= self.units_max {
            self.cuts[kind as usize] = Some(Cut { end: self.end, units: self.units, fence: self.fence });
        }
    }

    fn choose(&self) -> Found<'a> {
        let [forced, cluster, white @ ..] = self.cuts;
        let white = || white.into_iter().rev().flatten();
        let best = white().find(|cut| cut.units * BEST_SHARE >= self.units_max);
        let last = white().max_by_key(|cut| cut.end).filter(|cut| cut.units * WHITE_SHARE >= self.units_max);
        let cluster = cluster.filter(|cut| cut.units * BEST_SHARE >= self.units_max);
        best.or(last).or(cluster).or(forced).map_or(Found::Nothing, Found::Cut)
    }
}

/// The line at the start of `rest`, if it opens or closes a code block and is not too long to be repeated.
fn fence_line<'a>(rest: &'a str, open: Option<Fence<'a>>, bytes_max: usize) -> Option<Token<'a>> {
    let window = truncate_bytes(rest, bytes_max.saturating_add(2));
    let text = match window.find('\n') {
        Some(end) => &window[..end],
        None if window.len() == rest.len() => window,
        None => return None,
    };
    let text = text.strip_suffix('\r').unwrap_or(text);
    let opening = text.trim();
    let info = opening.trim_start_matches('`');
    let marker = &opening[..opening.len() - info.len()];
    if text.len() > bytes_max || marker.len() < 3 || info.contains('`') {
        return None;
    }
    match open {
        None => Some(Token { text, fence: Some(Fence { opening, marker }), opens: true }),
        Some(fence) if info.is_empty() && marker.len() >= fence.marker.len() => {
            Some(Token { text, fence: None, opens: false })
        }
        Some(_) => None,
    }
}

/// The first cluster, or as much of it as shows that it is longer than a part: four bytes a unit are more than enough.
fn first_cluster(text: &str, units_max: usize) -> &str {
    // Two characters of ASCII share a cluster only as a line end, so most texts need no tables.
    if let [first, second, ..] = text.as_bytes()
        && first.is_ascii()
        && second.is_ascii()
        && *first != b'\r'
    {
        return &text[..1];
    }
    truncate_bytes(text, units_max.saturating_mul(4)).graphemes(true).next().unwrap_or_default()
}

fn truncate_units(text: &str, units_max: usize) -> &str {
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > units_max {
            return &text[..at];
        }
    }
    text
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

fn joined(opening: Option<&str>, body: &str, closing: Option<&str>) -> String {
    let opening = opening.map_or_else(String::new, |line| format!("{line}\n"));
    let closing = closing.map_or_else(String::new, |marker| format!("\n{marker}"));
    format!("{opening}{body}{closing}")
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, Hasher, RandomState};

    use super::*;
    use crate::base::text::{CUT_NOTICE, PART_UNITS_MAX, PARTS_MAX, split};

    const FAMILY: &str = "👨\u{200d}👩\u{200d}👧\u{200d}👦";

    #[track_caller]
    fn check(text: &str, units_max: usize, want: &[&str]) {
        assert_eq!(split(text, units_max, 100), want, "{text:?} at {units_max}");
    }

    #[test]
    fn text_that_fits_is_left_as_it_is_and_blank_text_is_nothing() {
        check("", 10, &[]);
        check(" \n\t\r\n ", 10, &[]);
        check("hello", 10, &["hello"]);
        check("  hello\n\n", 10, &["  hello\n\n"]);
        check("0123456789", 10, &["0123456789"]);
        check("```rust\nnever closed", 30, &["```rust\nnever closed"]);
    }

    #[test]
    fn the_best_place_in_the_second_half_wins() {
        check("aaa\n\nbbb. cc\ndd ee", 12, &["aaa\n\nbbb. cc", "dd ee"]);
        check("aaaaaa\n\nb. c\ndd ee", 12, &["aaaaaa", "b. c\ndd ee"]);
        check("aaaaaa b. c\nd e f g", 13, &["aaaaaa b. c", "d e f g"]);
        check("(one two three!) four five", 22, &["(one two three!)", "four five"]);
        check("one two three", 9, &["one two", "three"]);
        check("一二。三四五", 5, &["一二。", "三四五"]);
        check("一二三四五六", 4, &["一二三四", "五六"]);
    }

    #[test]
    fn an_early_space_is_better_than_half_a_word_unless_it_is_very_early() {
        check("aaa 0123456789", 10, &["aaa", "0123456789"]);
        check("a 0123456789012345678901234567", 16, &["a 01234567890123", "45678901234567"]);
    }

    #[test]
    fn only_white_space_at_a_cut_is_dropped() {
        check("aaaaaa   \n   bbbbbb", 12, &["aaaaaa", "   bbbbbb"]);
        check("aaaaaa      bbbbbb", 8, &["aaaaaa", "bbbbbb"]);
        check("aaaaaaaa\n\n", 8, &["aaaaaaaa"]);
        check(&format!("{}x", " ".repeat(50)), 8, &["x"]);
        check("aaaa\r\nbbbb", 5, &["aaaa", "bbbb"]);
    }

    #[test]
    fn clusters_are_whole_unless_longer_than_a_part() {
        check("a\u{301}b\u{301}c\u{301}", 3, &["a\u{301}", "b\u{301}", "c\u{301}"]);
        check("🇩🇪🇫🇷🇵🇱", 9, &["🇩🇪🇫🇷", "🇵🇱"]);
        check("x❤\u{fe0f}y", 2, &["x", "❤\u{fe0f}", "y"]);
        check(&format!("ab{FAMILY}{FAMILY}"), 13, &[&format!("ab{FAMILY}"), FAMILY]);
        check("😀😀", 1, &["😀", "😀"]);
        check(" 🏻🏻", 2, &["🏻", "🏻"]);
        check("z\u{335}\u{335}\u{335}\u{335}", 2, &["z\u{335}", "\u{335}\u{335}", "\u{335}"]);
    }

    #[test]
    fn a_code_block_is_closed_and_opened_again() {
        let code = "```rust\nlet first = 1;\n    let second = 2;\n    let third = 3;\n```\nDone, that is all.";
        let first = "```rust\nlet first = 1;\n    let second = 2;\n```";
        check(code, 48, &[first, "```rust\n    let third = 3;\n```", "Done, that is all."]);
        // Opened with four backticks: three inside do not close it.
        let nested = "````md\n```\nabcdef ghijkl\nmnopqr\n```\n````";
        check(nested, 36, &["````md\n```\nabcdef ghijkl\nmnopqr\n````", "````md\n```\n````"]);
        check("```\r\n0123456789\r\n```\r\nnext words", 20, &["```\r\n0123456789\r\n```", "next words"]);
    }

    #[test]
    fn no_part_shows_an_empty_code_block() {
        // The closing line after the cut is the one that the part already has.
        check("```\n0123456789\n\n```\nnext and more", 19, &["```\n0123456789\n```", "next and more"]);
        // A good place after the opening line is not used.
        let code = "```rust\nabcdefghijklmnopqrstuvwxyz\n```";
        check(&format!("0123456789 0123456789\n{code}"), 40, &["0123456789 0123456789", code]);
        // Neither is the indentation at the start of a part.
        let (lines, long) = ("0123456789\n0123456789", "b".repeat(50));
        let want = [format!("```rust\n{lines}\n```"), format!("```rust\n    {}\n```", &long[..24])];
        assert_eq!(split(&format!("```rust\n{lines}\n    {long}\n```"), 40, 100)[..2], want);
    }

    #[test]
    fn some_backticks_are_not_a_fence() {
        check("```a`b\n0123456789\n0123456789", 24, &["```a`b\n0123456789", "0123456789"]);
        let (fits, long) = ("```7654321\n012345678901234567890123", "```87654321\n01234567890123456789012345");
        check(&format!("{fits}\nthe rest"), 40, &[&format!("{fits}\n```"), "```7654321\nthe rest"]);
        check(&format!("{long}\nthe rest"), 40, &[long, "the rest"]);
        // In the middle of a line they would look like a fence if they came first.
        check("say ```inline code``` now", 12, &["say ```inlin", "e code```", "now"]);
        check("0123456789```abc", 10, &["012345678", "9```abc"]);
    }

    #[test]
    fn a_cluster_that_leaves_no_room_for_fence_lines_goes_without_them() {
        let tall = format!("z{}", "\u{335}".repeat(20));
        check(&format!("```rs\n{tall}\n```"), 24, &["```rs\n```", &tall, "```rs\n```"]);
    }

    #[test]
    fn more_parts_than_allowed_end_with_the_notice() {
        assert_eq!(split("a b c", 2, 3), ["a", "b", "c"]);
        assert_eq!(split("a b c   \n", 2, 3), ["a", "b", "c"]);
        assert_eq!(split("a b c d", 2, 3), ["a", "b", CUT_NOTICE]);
        assert_eq!(split("a b c d", 2, 1), [CUT_NOTICE]);
        assert_eq!(split("a b c d", 2, 0), [CUT_NOTICE]);
        assert_eq!(split("a", 2, 0), ["a"]);
        assert_eq!(split(&"x".repeat(100_000), PART_UNITS_MAX, PARTS_MAX).len(), PARTS_MAX);
    }

    /// Quadratic work over any of these takes minutes, not a moment. Seen to take them with `text` unbounded in
    /// `first_cluster`.
    #[test]
    fn a_long_text_of_one_kind_is_no_trouble() {
        for piece in ["a", " ", "a. ", "`", "```x\ny\n", "\u{301}", "🇩", ")", "\r\n", "\u{600}"] {
            let text = piece.repeat((1 << 17) / piece.len());
            for units_max in [2, PART_UNITS_MAX] {
                let parts = split(&text, units_max, usize::MAX);
                assert!(parts.iter().all(|part| (1..=units_max).contains(&utf16_len(part))), "{piece:?}");
            }
        }
    }

    /// Seen to fail without the exception for a line end.
    #[test]
    fn the_short_way_to_a_cluster_leads_to_the_same_one() {
        let mut random = Random::new();
        for case in 0..cases() {
            let text = random.text(&HOSTILE);
            let whole = text.graphemes(true).next().unwrap_or_default();
            assert_eq!(first_cluster(&text, text.len()), whole, "{}", random.origin(case));
        }
    }

    /// C6. Seen to fail with the code broken in these ways: the closing line not counted in `offer`; the opening line not
    /// counted in `Window::new`; `>` made `>=`, or the limit one more, in `add`; characters for clusters in
    /// `first_cluster`; `go_to` dropping one cluster more; a longer closing line skipped in `skip_closing_line`, or any
    /// after `take_alone`; trailing white space always kept, or always lost, in the last part; `parts.pop()` left out.
    #[test]
    fn parts_hold_the_whole_text_within_their_limits() {
        let mut random = Random::new();
        for case in 0..cases() {
            let units_max = 2 + random.below(if case % 8 == 0 { 600 } else { 60 });
            let text = random.text(&HOSTILE);
            check_case(&text, units_max, &random.origin(case));
        }
    }

    /// Seen to fail without `self.fence = cut.fence`, and with `line_start` always false in `read_part`.
    #[test]
    fn code_stays_in_blocks_and_prose_outside() {
        let mut random = Random::new();
        for case in 0..cases() {
            let text = random.text(&TAME);
            for part in split(&text, 64 + random.below(200), usize::MAX) {
                let mut open = false;
                for line in part.lines() {
                    let fence = line.starts_with("```");
                    open ^= fence;
                    let wrong = if open { "prose" } else { "code" };
                    assert!(fence || !line.contains(wrong), "{}: {text:?}: {part:?}", random.origin(case));
                }
            }
        }
    }

    #[track_caller]
    fn check_case(text: &str, units_max: usize, origin: &str) {
        let parts = split(text, units_max, usize::MAX);
        for part in &parts {
            assert!(!is_blank(part), "{origin}: blank part");
            assert!(utf16_len(part) <= units_max, "{origin}: {} > {units_max}: {part:?}", utf16_len(part));
        }
        assert_eq!(parts.is_empty(), is_blank(text), "{origin}");
        if utf16_len(text) <= units_max && !parts.is_empty() {
            assert_eq!(parts, [text], "{origin}");
        }
        let giant = text.graphemes(true).any(|cluster| utf16_len(cluster) > units_max);
        assert!(holds(&parts, text, giant), "{origin}: at {units_max} {text:?} became {parts:?}");
        let limited = split(text, units_max, 3);
        if parts.len() <= 3 {
            assert_eq!(limited, parts, "{origin}");
        } else {
            assert_eq!(limited, [parts[0].as_str(), parts[1].as_str(), CUT_NOTICE], "{origin}");
        }
    }

    /// Whether the parts, some without a first and a last fence line, are the text apart from white space. Compares whole
    /// clusters, so a cut inside one is seen; characters if the text has a cluster that must be cut.
    fn holds(parts: &[String], text: &str, giant: bool) -> bool {
        let atoms = |text| match giant {
            true => text_atoms(str::split_inclusive(text, |_| true)),
            false => text_atoms(text.graphemes(true)),
        };
        let want = atoms(text);
        let mut reached = vec![0];
        for part in parts {
            let mut next = Vec::new();
            for reading in readings(part) {
                let reading = atoms(reading);
                let ends = reached.iter().filter(|at| want[**at..].starts_with(&reading)).map(|at| at + reading.len());
                next.extend(ends);
            }
            next.sort_unstable();
            next.dedup();
            reached = next;
        }
        reached.contains(&want.len())
    }

    fn text_atoms<'a>(atoms: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        atoms.filter(|atom| !is_blank(atom)).collect()
    }

    /// The part as it is, and without the fence lines that may have been added.
    fn readings(part: &str) -> Vec<&str> {
        let opened = part.split_once('\n').filter(|(line, _)| line.starts_with("```")).map(|(_, rest)| rest);
        let mut readings = vec![part];
        readings.extend(opened);
        for reading in readings.clone() {
            let closed =
                reading.rsplit_once('\n').filter(|(_, line)| line.len() > 2 && line.bytes().all(|byte| byte == b'`'));
            readings.extend(closed.map(|(rest, _)| rest));
        }
        readings
    }

    const HOSTILE: [&str; 40] = [
        "a",
        "word ",
        "two words. ",
        "end.\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "      ",
        "\u{a0}",
        "x",
        "longerword",
        ")",
        "```",
        "```\n",
        "\n```\n",
        "```rust\n",
        "\n```python title=x\n",
        "````\n",
        "``",
        "  ```\n",
        "```a`b\n",
        "e\u{301}",
        "\u{301}",
        FAMILY,
        "\u{200d}",
        "🇩🇪",
        "🇫",
        "❤\u{fe0f}",
        "👍🏽",
        "😀",
        "。",
        "漢字",
        "क्\u{200d}ष",
        "각",
        "\u{600}",
        "\0",
        "z\u{335}\u{335}\u{335}",
    ];
    const TAME: [&str; 5] = [
        "prose words of a sentence. More prose, and prose again\n",
        "prose\n\n",
        "```rust\n    code();\n\n  code(code);\n```\n",
        "```\ncode codecodecodecodecode code code code code code code code\n        code\n\n\ncode\n```\n",
        "\n",
    ];

    fn cases() -> usize {
        number("RP_TEST_CASES").unwrap_or_default().max(2_000) as usize
    }

    #[allow(clippy::disallowed_methods, reason = "sizes and seeds of tests come from the environment")]
    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// Xorshift; a seed says which cases are made.
    struct Random {
        seed: u64,
        state: u64,
    }

    impl Random {
        fn new() -> Random {
            let seed = number("RP_TEST_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
            Random { seed, state: seed | 1 }
        }

        fn below(&mut self, bound: usize) -> usize {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 11) as usize % bound
        }

        fn text(&mut self, pieces: &[&str]) -> String {
            let few = 1 + self.below(pieces.len());
            let start = self.below(pieces.len());
            let length = self.below(120);
            (0..length).map(|_| pieces[(start + self.below(few)) % pieces.len()]).collect()
        }

        fn origin(&self, case: usize) -> String {
            format!("RP_TEST_SEED={} case {case}", self.seed)
        }
    }
}
