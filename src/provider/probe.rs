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
    /// Another status: it does not know the question, or has troubles of its own.
    Unclear(u16),
    /// Nothing.
    Silent(TransportError),
}

/// What is asked for. The list of models of OpenRouter is for everyone, so it says nothing about a key.
fn path(kind: ProviderKind) -> &'static str {
    if kind == ProviderKind::OpenRouter { "/key" } else { "/models" }
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
