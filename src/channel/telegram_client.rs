//! One call to the Bot API. The one place where the token becomes part of a URL; the URL is never part of an error.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::base::cancel::Cancel;
use crate::config::secret::Secret;
use crate::net::http::{BODY_BYTES_MAX, Head, Method, Request, Transport, TransportError, collect};

/// A thread's way to the Bot API.
pub struct TelegramClient {
    transport: Box<dyn Transport>,
    base: Zeroizing<String>,
    cancel: Cancel,
}

impl TelegramClient {
    /// Calls go to `<base>/bot<token>/<method>`; `cancel` ends the one under way.
    pub fn new(transport: Box<dyn Transport>, base: &str, token: &Secret, cancel: Cancel) -> TelegramClient {
        TelegramClient { transport, base: Zeroizing::new(format!("{base}/bot{}/", token.reveal())), cancel }
    }

    /// Posts `body` to `method` and waits at most `total`.
    pub fn call(&mut self, method: &str, body: &[u8], total: Duration) -> Result<(Head, Vec<u8>), TransportError> {
        let url = Zeroizing::new(format!("{}{method}", self.base.as_str()));
        let request = Request { method: Method::Post, url: &url, headers: &[], body, silence: None, total };
        collect(self.transport.as_mut(), &request, &self.cancel, BODY_BYTES_MAX)
    }
}
