//! One line of a session file: encode, decode, check.
//!
//! `{"role":…,"content":…,"timestamp":…}` come first, as every reader of these files has always required. Ours add
//! `rid` (the turn), `n` (the ordinal of the line over the whole session), `error` (the class of a failed turn) and `c`
//! (CRC-32C of the line without `,"c":"…"`). Lines without them are the earlier runtime's and are as good.

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::CRC32C;
use crate::base::message::Role;

/// A longer line is damage.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The mark of a line behind which the conversation starts over.
pub const NEW: &str = "new";

/// The mark of what was said to the program and not to the model.
pub const CONTROL: &str = "control";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Who said it. A role that we do not know is kept as it is.
    pub role: String,
    /// What was said.
    pub content: String,
    /// RFC 3339.
    pub timestamp: String,
    /// The turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Counts from 1 over the whole session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The error class of a failed turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// [`NEW`] or [`CONTROL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

impl Line {
    /// The two lines of a turn: what was asked, stamped with its receipt, and what was answered. Always written
    /// together; ordinals come with the append.
    pub fn pair(rid: &str, asked: (&str, Wall), answered: (&str, Wall), error: Option<&str>) -> [Line; 2] {
        let line = |role: &str, (content, at): (&str, Wall), error: Option<&str>| Line {
            role: role.to_owned(),
            content: content.to_owned(),
            timestamp: at.rfc3339(),
            rid: Some(rid.to_owned()),
            n: None,
            error: error.map(str::to_owned),
            mark: None,
        };
        [line("user", asked, None), line("assistant", answered, error)]
    }

    /// The two lines of a control message. The answer to `/new` is the line that starts over: `system`, because it is
    /// what the earlier runtime takes for a remark.
    pub fn marked(pair: [Line; 2], starts_over: bool) -> [Line; 2] {
        let [asked, answered] = pair.map(|line| Line { mark: Some(CONTROL.to_owned()), ..line });
        let start = |line| Line { role: "system".to_owned(), mark: Some(NEW.to_owned()), ..line };
        [asked, if starts_over { start(answered) } else { answered }]
    }

    /// The role, if it is one a model knows.
    pub fn known_role(&self) -> Option<Role> {
        match self.role.as_str() {
            "user" => Some(Role::User),
            "assistant" => Some(Role::Assistant),
            "system" => Some(Role::System),
            _ => None,
        }
    }

    /// The line with its checksum and newline.
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a line is text and a number");
        let checksum = CRC32C.checksum(text.as_bytes());
        text.truncate(text.len() - 1);
        text.push_str(&format!(",\"c\":\"{checksum:08x}\"}}\n"));
        text
    }

    /// A line without its newline; `None` if it is not whole. Bytes after the object, bad UTF-8, NUL bytes, a missing
    /// key or a checksum that does not hold all mean the same: it cannot be believed.
    pub fn decode(bytes: &[u8]) -> Option<Line> {
        if bytes.len() > LINE_BYTES_MAX {
            return None;
        }
        let line: Line = serde_json::from_slice(bytes).ok()?;
        checksum_holds(bytes).then_some(line)
    }
}

/// True for a line without a checksum of ours. The checksum is always the last key.
fn checksum_holds(bytes: &[u8]) -> bool {
    /// The last key of a line, with its eight digits.
    const SUFFIX_BYTES: usize = ",\"c\":\"00000000\"}".len();
    let Some((content, suffix)) = bytes.len().checked_sub(SUFFIX_BYTES).and_then(|at| bytes.split_at_checked(at))
    else {
        return true;
    };
    let Some(digits) = suffix.strip_prefix(b",\"c\":\"").and_then(|rest| rest.strip_suffix(b"\"}")) else {
        return true;
    };
    let claimed = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let mut digest = CRC32C.digest();
    digest.update(content);
    digest.update(b"}");
    claimed == Some(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(content: &str) -> Line {
        Line {
            role: "user".into(),
            content: content.into(),
            timestamp: "2026-11-24T00:00:00.000+00:00".into(),
            rid: Some("rp-00000000000000000000000001".into()),
            n: Some(7),
            error: None,
            mark: None,
        }
    }

    #[test]
    fn the_three_old_keys_come_first_and_lines_round_trip() {
        let encoded = line("tab\there, \u{1f600}").encode();
        assert!(encoded.starts_with(r#"{"role":"user","content":"tab\there, 😀","timestamp":"2026-"#), "{encoded}");
        assert_eq!(Line::decode(encoded.trim_end().as_bytes()), Some(line("tab\there, \u{1f600}")));
    }

    #[test]
    fn lines_of_the_earlier_runtime_are_whole() {
        let old = br#"{"role":"robot","content":"x","timestamp":"2026-01-01T00:00:00+00:00","extra":[1]}"#;
        let decoded = Line::decode(old).expect("whole");
        assert_eq!((decoded.role.as_str(), decoded.known_role(), decoded.n), ("robot", None, None));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let encoded = line("hello").encode();
        let good = encoded.trim_end().as_bytes();
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            assert!(Line::decode(&bytes).is_none_or(|decoded| decoded == line("hello")), "byte {at}");
        }
    }

    #[test]
    fn nothing_else_is_a_line() {
        for bytes in [
            &b""[..],
            b"{}",
            b"\0\0\0\0",
            b"{\"role\":\"user\"}",
            b"\xff\xfe",
            b"[1,2]",
            b"{\"role\":\"user\",\"content\":\"x\",\"time",
        ] {
            assert_eq!(Line::decode(bytes), None);
        }
    }
}
