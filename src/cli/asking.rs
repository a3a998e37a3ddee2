//! Questions to a person at a terminal, or to a script that writes one answer a line. What is secret is not shown while it is
//! typed, and wiped where we have kept it.

use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use crate::cli::{Failure, print};
use crate::config::questions::ANSWER_BYTES_MAX;
use crate::sys::signal;
use crate::sys::terminal::Raw;

/// Standard input.
pub struct Asking {
    is_terminal: bool,
}

/// What came back.
pub enum Answer {
    /// A text, trimmed and not blank.
    Text(Zeroizing<String>),
    /// Only the end of a line.
    Blank,
    /// The end of input: there will be no other answer.
    End,
}

impl Asking {
    /// From here on a signal ends the process, and gives the terminal back before that.
    pub fn start() -> Result<Asking, Failure> {
        signal::restore_on_terminate(true).map_err(|error| Failure::Failed(format!("signals: {error}")))?;
        Ok(Asking { is_terminal: io::stdin().is_terminal() })
    }

    /// Asks once.
    pub fn ask(&self, question: &str, is_secret: bool) -> Result<Answer, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("standard input: {error}"));
        // Before the question, because some type ahead.
        let _unseen = (self.is_terminal && is_secret).then(Raw::unseen).transpose().map_err(failed)?;
        print(question)?;
        let line = read_line().map_err(failed)?;
        if !self.is_terminal {
            print("\n")?;
        }
        let Some(line) = line else { return Ok(Answer::End) };
        let text = String::from_utf8_lossy(&line);
        Ok(if text.trim().is_empty() { Answer::Blank } else { Answer::Text(Zeroizing::new(text.trim().to_owned())) })
    }
}

/// Byte for byte, so that nothing of a secret stays in a buffer. What is longer than an answer may be is cut there.
fn read_line() -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    let mut byte = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(line)),
            Ok(_) if byte == *b"\n" => return Ok(Some(line)),
            Ok(_) if line.len() < ANSWER_BYTES_MAX => line.push(byte[0]),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
