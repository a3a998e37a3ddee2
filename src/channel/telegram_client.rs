//! One call to the Bot API. The one place where the token becomes part of a URL; the URL is never part of an error.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::base::cancel::Cancel;
use crate::channel::telegram::PollFailure;
use crate::channel::telegram_api as api;
use crate::config::live_secret::LiveSecret;
use crate::net::http::{BODY_BYTES_MAX, Head, Method, Request, Transport, TransportError, collect};

/// A thread's way to the Bot API.
pub struct TelegramClient {
    transport: Box<dyn Transport>,
    base: String,
    token: LiveSecret,
    cancel: Cancel,
}

impl TelegramClient {
    /// Calls go to `<base>/bot<token>/<method>`, each with the token of the moment it begins; `cancel` ends the one under way.
    pub fn new(transport: Box<dyn Transport>, base: &str, token: LiveSecret, cancel: Cancel) -> TelegramClient {
        TelegramClient { transport, base: base.to_owned(), token, cancel }
    }

    /// Posts `body` to `method` and waits at most `total`.
    pub fn call(&mut self, method: &str, body: &[u8], total: Duration) -> Result<(Head, Vec<u8>), TransportError> {
        let url = Zeroizing::new(format!("{}/bot{}/{method}", self.base, self.token.current().reveal()));
        let request = Request { method: Method::Post, url: &url, headers: &[], body, silence: None, total };
        collect(self.transport.as_mut(), &request, &self.cancel, BODY_BYTES_MAX)
    }

    /// Asks a question without parameters; a failure comes with a phrase for the log.
    pub fn ask(&mut self, method: &str, total: Duration) -> Result<Vec<u8>, (PollFailure, String)> {
        let (head, body) =
            self.call(method, b"{}", total).map_err(|error| (PollFailure::Transient, format!("{method}: {error}")))?;
        match api::poll_failure(&head, &body) {
            Some(failure) => Err((failure, format!("{method}: status {}", head.status))),
            None => Ok(body),
        }
    }
}
