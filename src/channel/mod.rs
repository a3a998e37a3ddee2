//! Ways in and out. A channel owns its protocol and nothing else: it hands over messages, waits for receipts before it
//! acknowledges them upstream, and sends replies that are already on disk.

/// Who may speak.
pub mod allowlist;
/// What a channel is given.
pub mod ends;
/// Replies on their way out, first in first out for each chat.
pub mod outbound;
/// Long polling as a state machine.
pub mod telegram;
/// Telegram's JSON to and from our values.
pub mod telegram_api;
/// One call to the Bot API.
pub mod telegram_client;
/// The thread that sends.
pub mod telegram_sender;
/// The thread that polls.
pub mod telegram_worker;
/// The frames of WhatsApp bridges.
pub mod whatsapp_frame;
/// Who is who on WhatsApp.
pub mod whatsapp_identity;
/// The link to a bridge as a state machine.
pub mod whatsapp_link;
/// WhatsApp's markup.
pub mod whatsapp_markup;
