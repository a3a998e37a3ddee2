//! WhatsApp's markup from a model's Markdown: `**bold**` becomes `*bold*`, headings become bold lines, links show where
//! they go, and code stays as it is. Each part of a reply is converted by itself, so the same part always gives the same
//! text.

/// What a fence of code is made of.
const FENCE: &str = "```";

/// What may begin something else than words.
const SIGNS: [char; 7] = ['*', '_', '~', '`', '\\', '[', '!'];

/// Behind these, as behind white space, emphasis can begin and not end.
const BEGINNINGS: [char; 5] = ['(', '[', '{', '/', '\\'];

/// Emphasis within emphasis; what is deeper stays as it is written.
const DEPTH_MAX: usize = 8;

/// The same text as WhatsApp shows it.
pub fn of_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_code = false;
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let start = line.trim_start();
        if start.starts_with(FENCE) || start.starts_with("~~~") {
            // What stands behind the fence names a language, which WhatsApp would show; one line of code may end there, too.
            let rest = start.get(FENCE.len()..).unwrap_or_default();
            let is_whole = rest.contains(FENCE);
            out.push_str(if is_whole { line } else { FENCE });
            is_code ^= !is_whole;
        } else if is_code {
            out.push_str(line);
        } else {
            push_line(&mut out, line);
        }
    }
    out
}

/// A line that is not code.
fn push_line(out: &mut String, line: &str) {
    let start = line.trim_start();
    let indent = &line[..line.len() - start.len()];
    out.push_str(indent);
    let level = start.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level)
        && let Some(title) = start[level..].strip_prefix(' ')
    {
        let title = title.trim().trim_end_matches('#').trim_end();
        if !title.is_empty() {
            let mut plain = String::new();
            push_inline(&mut plain, title, true, 0);
            out.push('*');
            out.push_str(&plain);
            out.push('*');
        }
        return;
    }
    // A star that begins a line is a point of a list here and the beginning of bold text there.
    match ["* ", "+ "].into_iter().find_map(|point| start.strip_prefix(point)) {
        Some(rest) => {
            out.push_str("- ");
            push_inline(out, rest, false, 0);
        }
        None => push_inline(out, start, false, 0),
    }
}

/// The words of a line. In a heading, which is bold as a whole, `**` goes away.
fn push_inline(out: &mut String, text: &str, is_heading: bool, depth: usize) {
    if depth > DEPTH_MAX {
        out.push_str(text);
        return;
    }
    let mut rest = text;
    let mut before = ' ';
    while !rest.is_empty() {
        let plain = rest.find(SIGNS).unwrap_or(rest.len());
        if plain > 0 {
            out.push_str(&rest[..plain]);
            before = rest[..plain].chars().next_back().unwrap_or(' ');
            rest = &rest[plain..];
            continue;
        }
        let taken = spanned(rest, before, is_heading, depth).or_else(|| escaped(rest)).or_else(|| link(rest, depth));
        // Every sign is one byte long. A row of them that is no emphasis holds none, either.
        let (shown, length) = taken.unwrap_or_else(|| {
            let row = ["*", "_", "~"].map(|sign| rest.len() - rest.trim_start_matches(sign).len());
            let length = row.into_iter().max().unwrap_or(0).max(1);
            (rest[..length].to_owned(), length)
        });
        before = rest[..length].chars().next_back().unwrap_or(' ');
        out.push_str(&shown);
        rest = &rest[length..];
    }
}

/// Code, or emphasis, at the beginning of `rest`: what it becomes, and how long it was.
fn spanned(rest: &str, before: char, is_heading: bool, depth: usize) -> Option<(String, usize)> {
    let ticks = rest.bytes().take_while(|byte| *byte == b'`').count();
    if ticks > 0 {
        let fence = &rest[..ticks];
        let end = rest[ticks..].find(fence)? + 2 * ticks;
        return Some((rest[..end].to_owned(), end));
    }
    // WhatsApp shows emphasis at the borders of words only, and within one a sign is a sign: `2**3`.
    if is_of_word(before) {
        return None;
    }
    for (mark, shown) in [("***", "*_"), ("**", "*"), ("__", "*"), ("~~", "~"), ("*", "_"), ("_", "_")] {
        if !rest.starts_with(mark) {
            continue;
        }
        let inner = &rest[mark.len()..];
        let Some(length) = closing(inner, mark) else { continue };
        let mut text = String::new();
        push_inline(&mut text, &inner[..length], is_heading, depth + 1);
        let whole = length + 2 * mark.len();
        let shown = if is_heading { shown.trim_start_matches('*') } else { shown };
        let end: String = shown.chars().rev().collect();
        return Some((format!("{shown}{text}{end}"), whole));
    }
    None
}

/// Whether a mark beside it is within a word. Scripts without capitals write words without a space between them, so there it is not.
fn is_of_word(sign: char) -> bool {
    sign.is_lowercase() || sign.is_uppercase() || sign.is_numeric()
}

/// Where the emphasis that begins before `inner` ends: behind a word and not before one, and not within a longer row of the
/// same sign.
fn closing(inner: &str, mark: &str) -> Option<usize> {
    let sign = mark.chars().next()?;
    if inner.starts_with(char::is_whitespace) || inner.starts_with(sign) {
        return None;
    }
    let mut from = 0;
    while let Some(at) = inner[from..].find(mark).map(|at| at + from) {
        let after = &inner[at + mark.len()..];
        let row = inner[at..].chars().take_while(|c| *c == sign).count();
        let begins = |before: char| before.is_whitespace() || BEGINNINGS.contains(&before);
        if !inner[..at].ends_with(begins)
            && !after.starts_with(is_of_word)
            && (row == mark.len() || row == 3 && mark.len() == 2)
        {
            // Of three signs the inner emphasis gets one.
            return Some(if row > mark.len() { at + 1 } else { at });
        }
        from = at + row;
    }
    None
}

fn escaped(rest: &str) -> Option<(String, usize)> {
    let next = rest.strip_prefix('\\')?.chars().next().filter(char::is_ascii_punctuation)?;
    Some((next.to_string(), 2))
}

/// `[words](address)` and `![words](address)`.
fn link(rest: &str, depth: usize) -> Option<(String, usize)> {
    let image = usize::from(rest.starts_with('!'));
    let inner = rest[image..].strip_prefix('[')?;
    let words = &inner[..inner.find("](")?];
    if words.contains(['[', ']', '\n']) {
        return None;
    }
    let behind = &inner[words.len() + 2..];
    let address = &behind[..behind.find(')')?];
    let whole = image + 1 + words.len() + 2 + address.len() + 1;
    let target = address.split_whitespace().next()?.trim_start_matches('<').trim_end_matches('>');
    let mut shown = String::new();
    push_inline(&mut shown, words, false, depth + 1);
    Some((if shown.is_empty() || shown == target { target.to_owned() } else { format!("{shown} ({target})") }, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[track_caller]
    fn check(markdown: &str, want: &str) {
        assert_eq!(of_markdown(markdown), want, "{markdown}");
    }

    #[test]
    fn emphasis_is_written_the_other_way() {
        check("a **b c** d", "a *b c* d");
        check("__b__ and *i* and _i_ and ~~s~~", "*b* and _i_ and _i_ and ~s~");
        check("***both***", "*_both_*");
        check("**a *b* c**", "*a _b_ c*");
        check("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name");
        for calculated in [
            "2*3*4=24, 2**3**2=512",
            "f(*args, **kw) and g(*args, **kw)",
            "src/*.rs and tests/*.rs",
            "a~~b~~c",
            "2**3* x",
        ] {
            check(calculated, calculated);
        }
        check("(**a**, *b*), \"**c**\": **d**!", "(*a*, _b_), \"*c*\": *d*!");
        check("重**点**这", "重*点*这");
        check("** not bold ** and a lone * star", "** not bold ** and a lone * star");
        check("**unfinished", "**unfinished");
        check("\\*plain\\* and C:\\dir", "*plain* and C:\\dir");
    }

    #[test]
    fn lines_have_their_form() {
        check("# Title\n## **Sub** ##\n#hashtag", "*Title*\n*Sub*\n#hashtag");
        check("* one\n+ two\n  * three\n- four\n1. five", "- one\n- two\n  - three\n- four\n1. five");
        check("> quote **b**", "> quote *b*");
        check("#", "#");
    }

    #[test]
    fn links_show_where_they_go() {
        check("see [the *docs*](https://x.y/z \"t\").", "see the _docs_ (https://x.y/z).");
        check("![alt](https://x/i.png)", "alt (https://x/i.png)");
        check("[https://x](https://x)", "https://x");
        check("[1] and (2) and [a]", "[1] and (2) and [a]");
    }

    #[test]
    fn code_stays_as_it_is() {
        check("use `**x**` now", "use `**x**` now");
        check("```rust\nlet a = **b;\n# no title\n```\n**b**", "```\nlet a = **b;\n# no title\n```\n*b*");
        check("~~~\n*a*\n~~~", "```\n*a*\n```");
        check("```one line```", "```one line```");
        check("`open", "`open");
    }

    #[test]
    fn deep_emphasis_ends_somewhere() {
        let deep = format!("{}x{}", "*_".repeat(1000), "_*".repeat(1000));
        assert!(of_markdown(&deep).contains('x'));
    }

    #[test]
    fn emphasis_changes_nothing_but_signs() {
        let mut rng = Rng::from_seed(12);
        let pieces = ["*", "**", "***", "_", "__", "~~", "~", " ", "a", "1", "(", ")", ".", "/", "ü"];
        let plain = |text: &str| text.replace(['*', '_', '~'], "");
        for _ in 0..10_000 {
            let text: String = (0..rng.up_to(30)).map(|_| pieces[rng.up_to(14) as usize]).collect();
            let text = format!("x {text}");
            let shown = of_markdown(&text);
            assert_eq!(plain(&shown), plain(&text), "{text} as {shown}");
        }
    }

    #[test]
    fn any_text_is_converted_without_end_or_panic() {
        let mut rng = Rng::from_seed(11);
        let pieces =
            ["*", "**", "***", "_", "__", "~~", "`", "```", "\n", " ", "a", "ü", "[", "](", ")", "!", "\\", "#", "👍"];
        for _ in 0..10_000 {
            let length = rng.up_to(60);
            let text: String = (0..length).map(|_| pieces[rng.up_to(18) as usize]).collect();
            let shown = of_markdown(&text);
            assert!(shown.len() <= text.len() + 2 * text.lines().count() + 3 * text.len(), "{text}");
        }
    }
}
