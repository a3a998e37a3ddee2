//! Taking secrets out of text: the last step before anything is written to a log.
//!
//! Known values are replaced wherever they stand, as they are and as JSON writes them; a value that is learnt later is known to
//! every clone. Shapes that only credentials have (`bot123:…`, `sk-…`, `Bearer …`) are replaced even if nobody told us the value.

use crate::config::live_secret::KnownSecrets;

/// What stands in a secret's place.
pub const MARK: &str = "[redacted]";

/// A value shorter than this is not replaced in logs: it would hit ordinary words.
const SECRET_BYTES_MIN: usize = 8;

/// A value shorter than this is not replaced in what people are told. Local servers are often given a word as a key.
const SECRET_BYTES_MIN_TOLD: usize = 16;

/// Removes what it was given.
#[derive(Clone, Default)]
pub struct Redactor {
    known: KnownSecrets,
}

impl Redactor {
    /// Takes out these, and what is added to them later.
    pub fn new(known: &KnownSecrets) -> Redactor {
        Redactor { known: known.clone() }
    }

    /// `text` without the values that are known. For what people are told, where a shape may be part of an honest answer.
    pub fn without_known(&self, text: &str) -> String {
        self.without(text, SECRET_BYTES_MIN_TOLD)
    }

    fn without(&self, text: &str, bytes_min: usize) -> String {
        let mut text = text.to_owned();
        for value in self.known.forms().iter().filter(|value| value.reveal().len() >= bytes_min) {
            if is_no_word(value.reveal()) && text.contains(value.reveal()) {
                text = text.replace(value.reveal(), MARK);
            }
        }
        text
    }

    /// `text` without any secret.
    pub fn clean(&self, text: &str) -> String {
        let mut text = self.without(text, SECRET_BYTES_MIN);
        for shape in SHAPES {
            text = without_shape(&text, shape);
        }
        text
    }
}

/// Neither short nor made of small letters alone, as the dummy keys of local servers are.
fn is_no_word(value: &str) -> bool {
    value.len() >= SECRET_BYTES_MIN && !value.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A prefix, and how many characters of a credential must follow.
struct Shape {
    prefix: &'static str,
    chars_min: usize,
}

const SHAPES: &[Shape] = &[
    Shape { prefix: "bot", chars_min: 36 },
    Shape { prefix: "sk-", chars_min: 16 },
    Shape { prefix: "Bearer ", chars_min: 8 },
];

fn without_shape(text: &str, shape: &Shape) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(shape.prefix) {
        let after = &rest[at + shape.prefix.len()..];
        let end = after.find(|c: char| !belongs(c)).unwrap_or(after.len());
        let credential = &after[..end];
        out.push_str(&rest[..at + shape.prefix.len()]);
        let is_token = shape.prefix != "bot" || looks_like_bot_token(credential);
        out.push_str(if credential.len() >= shape.chars_min && is_token { MARK } else { credential });
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

fn belongs(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | '~' | '+')
}

fn looks_like_bot_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(bot, secret)| {
        !bot.is_empty() && bot.bytes().all(|byte| byte.is_ascii_digit()) && secret.len() >= 30
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let secrets = ["123:canary", "with\"quote", "abc", "provider"].map(|value| Secret::new(value.into()));
        assert_eq!(Redactor::new(&KnownSecrets::new(secrets.to_vec())).clean(text), want);
    }

    #[test]
    fn known_values_go_in_every_form() {
        check("GET /bot123:canary/getMe", "GET /bot[redacted]/getMe");
        check("with\"quote and with\\\"quote", "[redacted] and [redacted]");
        check("abc of the provider is a word", "abc of the provider is a word");
    }

    #[test]
    fn shapes_go_without_being_known() {
        check("key sk-ABCDEFGHIJKLMNOPQRST!", "key sk-[redacted]!");
        check("Authorization: Bearer abcdef0123456", "Authorization: Bearer [redacted]");
        check("/bot99:abcdefghijklmnopqrstuvwxyz0123456789/x", "/bot[redacted]/x");
        check("a bottle, a robot, sk-short, Bearer me", "a bottle, a robot, sk-short, Bearer me");
    }
}
