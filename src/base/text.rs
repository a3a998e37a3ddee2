//! Cutting text for people and for machines: chat parts, byte and JSON limits, text that is safe on a terminal.

use crate::base::text::split::Splitter;

mod split;

/// UTF-16 units in one part. Telegram takes 4096; the rest is room for the mark of a repeated part.
pub const PART_UNITS_MAX: usize = 4000;
/// Parts in one reply, the cut notice included.
pub const PARTS_MAX: usize = 10;
/// The last part of a reply that would need more than the allowed parts.
pub const CUT_NOTICE: &str =
    "(The rest of this reply was cut: it is too long for this chat. Send /last 10 for the next part.)";

/// The length in UTF-16 units.
pub fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The parts of a reply, in order; none for blank text. A `units_max` below 2 counts as 2, since no smaller part can
/// hold every character. More than `parts_max` parts become the first `parts_max - 1` and [`CUT_NOTICE`], which is
/// always whole.
pub fn split(text: &str, units_max: usize, parts_max: usize) -> Vec<String> {
    let mut parts = Vec::new();
    for part in Splitter::new(text, units_max) {
        if parts.len() >= parts_max.max(1) {
            parts.pop();
            parts.push(CUT_NOTICE.to_string());
            break;
        }
        parts.push(part);
    }
    parts
}

/// The longest prefix of at most `bytes_max` bytes that ends on a character border.
pub fn truncate_bytes(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// At most `chars_max` characters, the last one an ellipsis when something was cut.
pub fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_string();
    }
    let Some(kept) = chars_max.checked_sub(1) else {
        return String::new();
    };
    text.chars().take(kept).chain(['…']).collect()
}

/// The longest prefix whose JSON string, with its quotes and as serde_json writes it, has at most `bytes_max` bytes.
pub fn fit_json(text: &str, bytes_max: usize) -> &str {
    let mut size = 2;
    for (at, character) in text.char_indices() {
        size += json_cost(character);
        if size > bytes_max {
            return &text[..at];
        }
    }
    text
}

/// The length of the JSON string, with its quotes.
pub fn json_len(text: &str) -> usize {
    2 + text.chars().map(json_cost).sum::<usize>()
}

fn json_cost(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..' ' => 6,
        _ => character.len_utf8(),
    }
}

/// Text that cannot move the cursor, colour, reorder or hide anything: what could becomes a visible `\u{…}`.
pub fn terminal_safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe_on_terminal(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Emoji variation selectors (U+FE00–FE0F) pass: they are in ordinary text and change one glyph at most.
fn is_unsafe_on_terminal(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}' => true, // soft hyphen and other invisible ones
        '\u{200b}'..='\u{200f}' => true,                                    // zero width, left-to-right marks
        '\u{2028}'..='\u{202e}' => true,                                    // line separators, bidi embeddings
        '\u{2060}'..='\u{206f}' => true,                                    // invisible operators, bidi isolates
        '\u{fff9}'..='\u{fffb}' => true,                                    // interlinear annotation
        '\u{e0000}'..='\u{e0fff}' => true,                                  // tags, selectors that can carry bytes
        _ => character.is_control(),                                        // C0, DEL, C1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_on_borders() {
        assert_eq!(truncate_bytes("aé", 2), "a");
        assert_eq!(truncate_bytes("aé", 3), "aé");
        assert_eq!(truncate_bytes("aé", 99), "aé");
        assert_eq!(truncate_bytes("é", 0), "");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("äöü", 1), "…");
        assert_eq!(shorten("a", 0), "");
        assert_eq!(shorten("", 0), "");
        assert_eq!(utf16_len("a😀é"), 4);
    }

    /// Seen to fail with the short escape of `\t` counted as six bytes, and with `>=` for `>`.
    #[test]
    fn json_prefixes_are_the_longest_that_fit() {
        let encoded = |text: &str| serde_json::to_string(text).unwrap().len();
        let every: String = ('\0'..='\u{2ff}').chain(['\u{2028}', '\u{feff}', '😀', '\u{10ffff}']).collect();
        assert_eq!(json_len(&every), encoded(&every));
        for bytes_max in 0..=encoded(&every) + 1 {
            let prefix = fit_json(&every, bytes_max);
            let longer = every[prefix.len()..].chars().next();
            assert!(prefix.is_empty() || encoded(prefix) <= bytes_max, "{bytes_max}");
            assert!(longer.is_none_or(|next| encoded(&format!("{prefix}{next}")) > bytes_max), "{bytes_max}");
        }
    }

    #[track_caller]
    fn check_safe(text: &str, want: &str) {
        assert_eq!(terminal_safe(text), want);
    }

    /// Seen to fail with the C1, bidi, zero-width or tag range removed, each on its own line.
    #[test]
    fn nothing_reaches_the_terminal_but_visible_text() {
        check_safe("plain ünïcödé 😀 ❤\u{fe0f}\n\ttext", "plain ünïcödé 😀 ❤\u{fe0f}\n\ttext");
        check_safe("\u{1b}[2J", "\\u{1b}[2J");
        check_safe("\u{1b}]52;c;QQ==\u{7}", "\\u{1b}]52;c;QQ==\\u{7}");
        check_safe("\0\r\u{7f}", "\\u{0}\\u{d}\\u{7f}");
        check_safe("\u{80}\u{9b}31m\u{9f}", "\\u{80}\\u{9b}31m\\u{9f}");
        check_safe(
            "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{61c}",
            "\\u{202a}\\u{202e}\\u{2066}\\u{2069}\\u{200e}\\u{61c}",
        );
        check_safe("\u{200b}\u{200d}\u{2060}\u{feff}", "\\u{200b}\\u{200d}\\u{2060}\\u{feff}");
        check_safe("\u{e0001}\u{e0041}\u{e007f}\u{e0100}", "\\u{e0001}\\u{e0041}\\u{e007f}\\u{e0100}");
    }
}
