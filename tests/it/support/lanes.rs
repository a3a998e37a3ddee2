//! What a reader and a sender say to the product's writer: for tests that play a channel without a network.

use rusty_pinch::base::clock::Wall;
use rusty_pinch::base::id::{ChannelId, TurnId};
use rusty_pinch::base::message::{Chat, Delivery, Inbound};
use rusty_pinch::channel::outbound::Report;

/// The bot's account.
pub const ACCOUNT: u64 = 77;

/// Message `update` of a chat, as a reader hands it over.
pub fn inbound(turn: TurnId, update: u64, chat: &str, text: String, received: Wall) -> Inbound {
    Inbound {
        turn,
        channel: ChannelId::Telegram,
        account: ACCOUNT,
        origin: update,
        key: format!("tg:{ACCOUNT}:{chat}:{update}"),
        chat: Chat { id: chat.to_string(), thread: None },
        sender: "5".to_string(),
        text,
        received,
        waited: None,
    }
}

/// What a sender tells the writer about a turn.
pub fn delivery(turn: TurnId, report: Report) -> Delivery {
    match report {
        Report::Sent { part, message_id } => Delivery::Sent { turn, part, message_id },
        Report::Unsent { part, ambiguous, resends } => Delivery::Unsent { turn, part, ambiguous, resends },
        Report::Close { outcome, why } => Delivery::Close { turn, outcome, why },
    }
}
