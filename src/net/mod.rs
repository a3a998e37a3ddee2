//! Protocol parts shared by channels and providers.

// Retry or give up: a decision, not a loop.
pub mod backoff;
// The algorithms of TLS.
pub mod crypto;
// What an exchange is, without the crate that does it.
pub mod http;
// The exchange, over the one HTTP crate.
pub mod http_client;
// Connections, and how far an exchange came.
pub mod http_wire;
// How long a server asks us to wait.
pub mod retry_after;
// Which certificates are trusted.
pub mod roots;
// What is asked of the kernel for a connection.
pub mod socket_options;
// A websocket, over the one crate for it.
pub mod websocket;
// The server's end of one.
pub mod websocket_server;
