//! Ways in and out. A channel owns its protocol and nothing else: it hands over messages, waits for receipts before it
//! acknowledges them upstream, and sends replies that are already on disk.

// Who may speak.
pub mod allowlist;
// Who was refused lately.
pub mod denied;
// What a channel is given.
pub mod ends;
// Replies on their way out, first in first out for each chat.
pub mod outbound;
// Codes by which people are paired.
pub mod pairing;
// The file of who is paired.
pub mod pairing_file;
// Long polling as a state machine.
pub mod telegram;
// Telegram's JSON to and from our values.
pub mod telegram_api;
// One call to the Bot API.
pub mod telegram_client;
// Who of those who write is answered.
pub mod telegram_people;
// The thread that sends.
pub mod telegram_sender;
// Whether messages that wait arrive.
pub mod telegram_witness;
// The thread that polls.
pub mod telegram_worker;
// The frames of WhatsApp bridges.
pub mod whatsapp_frame;
// Messages of a bridge on their way to the disk.
pub mod whatsapp_handover;
// Who is who on WhatsApp.
pub mod whatsapp_identity;
// What becomes of a message.
pub mod whatsapp_incoming;
// The times of a link.
pub mod whatsapp_limits;
// The socket to a bridge, if there is one.
pub mod whatsapp_line;
// The link to a bridge as a state machine.
pub mod whatsapp_link;
// WhatsApp's markup.
pub mod whatsapp_markup;
// The file of learned identities.
pub mod whatsapp_memory;
// Replies on their way through a bridge.
pub mod whatsapp_outgoing;
// The way of messages in.
pub mod whatsapp_reception;
// What the operator is told of a bridge.
pub mod whatsapp_teller;
// What may be wrong with a bridge.
pub mod whatsapp_trouble;
// The thread that owns the link.
pub mod whatsapp_worker;
