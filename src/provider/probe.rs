//! The free question whether a server accepts a key. Costs no tokens and changes nothing.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::config::secret::Secret;
use crate::config::settings::ProviderKind;
use crate::net::http::{BODY_BYTES_MAX, Method, Request, Transport, TransportError, collect};

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It accepts the key, or needs none.
    Accepted,
    /// 401 or 403.
    Refused(u16),
    /// Another status: it does not know the question, or has troubles of its own. Some servers mean the key with 400.
    Unclear(u16),
    /// Nothing.
    Silent(TransportError),
}

/// What is asked for. The list of models of OpenRouter is for everyone, so it says nothing about a key.
fn path(kind: ProviderKind) -> &'static str {
    if kind == ProviderKind::OpenRouter { "/key" } else { "/models" }
}

impl Answer {
    /// Whether it depends on who asks, so that a key that is known to be good tells what is meant. A path or a method that the
    /// server does not know is the same for all, and a server that is asked too often or waits too long says nothing of a key.
    pub fn may_be_about_the_key(&self) -> bool {
        match self {
            Answer::Unclear(status) => (400..500).contains(status) && ![404, 405, 408, 429].contains(status),
            answer => *answer == Answer::Refused(403),
        }
    }
}

/// Asks the server at `base`, and waits at most `total`.
pub fn ask(
    transport: &mut dyn Transport,
    kind: ProviderKind,
    base: &str,
    key: Option<&Secret>,
    total: Duration,
) -> Answer {
    let headers: Vec<_> = key.map(|key| ("authorization", format!("Bearer {}", key.reveal()))).into_iter().collect();
    let url = format!("{base}{}", path(kind));
    let request = Request { method: Method::Get, url: &url, headers: &headers, body: b"", silence: None, total };
    match collect(transport, &request, &Cancel::new(), BODY_BYTES_MAX) {
        Ok((head, _)) => match head.status {
            200..=299 => Answer::Accepted,
            status @ (401 | 403) => Answer::Refused(status),
            status => Answer::Unclear(status),
        },
        Err(error) => Answer::Silent(error),
    }
}
