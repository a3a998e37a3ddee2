//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>): bytes
//! in, the data of whole events out. How the bytes are cut into chunks makes no difference. Only `data` matters here:
//! names, ids and reconnection times of events are passed over, as are comments.

use std::ops::ControlFlow;

/// Longest line, in bytes. A longer one ends the stream.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Most events of one stream. One more ends it.
pub const EVENTS_MAX: u32 = 100_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The stream went over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// A stream that is being read.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// Lines of the event under way, joined by newlines.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: a LF right after it belongs to it.
    ends_with_cr: bool,
    has_begun: bool,
    events: u32,
}

/// Hears the data of an event; `Break`: no more.
pub type Listener<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>;

impl Decoder {
    /// More bytes. Events that end within them are heard; after a `Break` the rest is not looked at.
    pub fn push(&mut self, bytes: &[u8], listener: Listener<'_>) -> Result<ControlFlow<()>, TooLarge> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.ends_with_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.ends_with_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if self.end_line(listener)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The stream is over. Some servers leave out the empty line after their last event, or even its line end; whether
    /// such an event is whole is for the listener to say.
    pub fn finish(&mut self, listener: Listener<'_>) -> Result<(), TooLarge> {
        if !self.line.is_empty() && self.end_line(listener)?.is_break() {
            return Ok(());
        }
        self.end_event(listener).map(|_| ())
    }

    fn end_line(&mut self, listener: Listener<'_>) -> Result<ControlFlow<()>, TooLarge> {
        let mut line = std::mem::take(&mut self.line);
        let skipped = if std::mem::replace(&mut self.has_begun, true) || !line.starts_with(BYTE_ORDER_MARK) {
            0
        } else {
            BYTE_ORDER_MARK.len()
        };
        let outcome = match &line[skipped..] {
            [] => self.end_event(listener),
            field => {
                self.field(field);
                Ok(ControlFlow::Continue(()))
            }
        };
        line.clear();
        self.line = line;
        outcome
    }

    /// `name: value`; one space after the colon is not part of the value. A comment's name is empty.
    fn field(&mut self, field: &[u8]) {
        let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
        if &field[..colon] != b"data" {
            return;
        }
        let value = field.get(colon + 1..).unwrap_or_default();
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
    }

    fn end_event(&mut self, listener: Listener<'_>) -> Result<ControlFlow<()>, TooLarge> {
        if !std::mem::take(&mut self.has_data) {
            return Ok(ControlFlow::Continue(()));
        }
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(TooLarge);
        }
        let outcome = listener(&self.data);
        self.data.clear();
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// The events of a stream that comes in these chunks and then ends.
    fn events<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, TooLarge> {
        let (mut decoder, mut heard) = (Decoder::default(), Vec::new());
        let mut listener = |data: &[u8]| {
            heard.push(String::from_utf8_lossy(data).into_owned());
            ControlFlow::Continue(())
        };
        for chunk in chunks {
            assert!(decoder.push(chunk, &mut listener)?.is_continue());
        }
        decoder.finish(&mut listener)?;
        Ok(heard)
    }

    #[track_caller]
    fn check(stream: &str, want: &[&str]) {
        let got = events([stream.as_bytes()]).expect("within the limits");
        assert_eq!(got, want, "{stream:?}");
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        check("data: one\n\ndata:two\n\n", &["one", "two"]);
        check("data: one\r\n\r\ndata: two\r\rdata: three\n\n", &["one", "two", "three"]);
        check("data:  two spaces\n\n", &[" two spaces"]);
        check("data: a\ndata: b\ndata\ndata: c\n\n", &["a\nb\n\nc"]);
        check(": comment\n\n:\n\nevent: ping\nid: 7\nretry: 5\n\n", &[]);
        check("event: error\ndata: x\n\n", &["x"]);
        check("\u{feff}data: after a mark\n\n\u{feff}data: no mark\n\n", &["after a mark"]);
        check("dataset: x\n\ndata : x\n\n data: x\n\n", &[]);
        check("\n\n\n\n", &[]);
        check("data\n\n", &[""]);
        check("data: no empty line\n", &["no empty line"]);
        check("data: no line end", &["no line end"]);
        check("", &[]);
    }

    const STREAM: &str = "\u{feff}: hello\r\n\r\ndata: {\"a\":\r\ndata: \"\u{e9}\u{1f426}\"}\n\nevent: x\rdata: two\r\rdata: three\n\r\n\
                          data:\n\ndata: [DONE]\r\n\r\n";

    #[test]
    fn where_a_stream_is_cut_into_chunks_makes_no_difference() {
        let stream = STREAM.as_bytes();
        let whole = events([stream]);
        assert_eq!(whole.as_ref().map(Vec::len), Ok(5));
        assert_eq!(events(stream.chunks(1)), whole);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let chunks = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(events(chunks), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_random_stream_in_random_chunks_is_the_same_stream() {
        let seed = 11;
        let mut rng = Rng::from_seed(seed);
        let words = ["data: ", "data:", "x", "\u{e9}", "\n", "\r", "\r\n", "\n\n", ":", "[DONE]", "\u{feff}", "id: "];
        for case in 0..500 {
            let stream: String = (0..60).map(|_| words[rng.up_to(words.len() as u64 - 1) as usize]).collect();
            let bytes = stream.as_bytes();
            let (mut chunks, mut rest) = (Vec::new(), bytes);
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((1 + rng.up_to(8) as usize).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            assert_eq!(events(chunks), events([bytes]), "seed {seed}, case {case}: {stream:?}");
        }
    }

    #[test]
    fn every_limit_ends_a_stream_and_what_is_just_within_passes() {
        let line = |length: usize| format!("data: {}\n\n", "x".repeat(length - "data: ".len()));
        assert!(events([line(LINE_BYTES_MAX).as_bytes()]).is_ok());
        assert_eq!(events([line(LINE_BYTES_MAX + 1).as_bytes()]), Err(TooLarge));
        let endless = "y".repeat(LINE_BYTES_MAX / 4);
        assert_eq!(events(std::iter::repeat_n(endless.as_bytes(), 5)), Err(TooLarge));
        let many = |count: u32| "data:x\n\n".repeat(count as usize);
        assert!(events([many(EVENTS_MAX).as_bytes()]).is_ok());
        assert_eq!(events([many(EVENTS_MAX + 1).as_bytes()]), Err(TooLarge));
    }

    #[test]
    fn nothing_is_heard_after_a_break() {
        let (mut decoder, mut heard) = (Decoder::default(), 0);
        let outcome = decoder.push(b"data: 1\n\ndata: 2\n\n", &mut |_| {
            heard += 1;
            ControlFlow::Break(())
        });
        assert_eq!((outcome, heard), (Ok(ControlFlow::Break(())), 1));
    }
}
