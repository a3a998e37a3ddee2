//! The times of a link to a WhatsApp bridge (design: resilience, "WhatsApp bridge websocket").

use std::time::Duration;

/// The times of a link. The product uses [`LIMITS`]; tests use shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Looking up and connecting.
    pub connect: Duration,
    /// TLS and websocket handshakes together.
    pub handshake: Duration,
    /// How long a bridge may take to say how it is; then it is one that says nothing of itself.
    pub introduction: Duration,
    /// A bridge that has not closed a link by then, and is heard, has let us in: its own limit for a token is 5 s.
    pub admission: Duration,
    /// How long one read may wait.
    pub slice: Duration,
    /// Between two pings; give or take [`Self::ping_jitter`].
    pub ping_every: Duration,
    /// How much earlier or later a ping may be.
    pub ping_jitter: Duration,
    /// A link on which nothing was heard for so long is dead.
    pub silence: Duration,
    /// Writing one frame.
    pub write: Duration,
    /// How long the oldest send waits for its answer, which is longer than our bridge takes (20 s); then the link is given up, because the order of answers is lost.
    pub answer: Duration,
    /// Largest delay before the bridge is dialled again.
    pub backoff_max: Duration,
    /// A link that lived this long makes up for all failures before it.
    pub stable: Duration,
}

/// The times of the product.
pub const LIMITS: LinkLimits = LinkLimits {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(10),
    introduction: Duration::from_secs(2),
    admission: Duration::from_secs(10),
    slice: Duration::from_millis(250),
    ping_every: Duration::from_secs(25),
    ping_jitter: Duration::from_secs(5),
    silence: Duration::from_secs(60),
    write: Duration::from_secs(10),
    answer: Duration::from_secs(30),
    backoff_max: Duration::from_secs(60),
    stable: Duration::from_secs(60),
};
