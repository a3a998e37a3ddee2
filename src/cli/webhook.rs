//! `channels telegram --delete-webhook`: removes the bot's webhook, which keeps every worker from polling, and ends. A worker
//! that is parked by it goes on by itself within five minutes, or on SIGHUP.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::channel::telegram::PollFailure;
use crate::channel::telegram_client::TelegramClient;
use crate::cli::channel_plans as plans;
use crate::cli::{Failure, print, setup};
use crate::net::http_client::HttpClient;

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes it; what waits at the server stays there.
pub fn delete() -> Result<(), Failure> {
    let setup = setup::load()?;
    plans::ready(&setup, ChannelId::Telegram)?;
    let telegram = &setup.config.telegram;
    let Some(token) = &telegram.token else { return Ok(()) };
    let transport = Box::new(HttpClient::new(telegram.base.is_secure()));
    let mut client = TelegramClient::new(transport, telegram.base.as_str(), token.secret.clone(), Cancel::new());
    match client.ask("deleteWebhook", PATIENCE) {
        Ok(_) => print("there is no webhook any more; messages that wait at the server are kept\n"),
        Err((PollFailure::Denied, _)) => Err(Failure::Failed("Telegram rejects the token".to_owned())),
        Err((_, phrase)) => Err(Failure::Failed(format!("the webhook was not removed: {phrase}"))),
    }
}
