//! [`WhatsAppSettings`]: the bridge, who is answered, and how the link to it is kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::keys::{KeyError, Reader};
use crate::config::settings::{Credential, credential};

/// What the operator says about the dialect of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeDialect {
    /// It is found out.
    Auto,
    /// picoclaw's.
    P,
    /// nanobot's.
    N,
}

/// Settings of the WhatsApp worker.
#[derive(Clone, Debug)]
pub struct WhatsAppSettings {
    /// Whether the worker may run.
    pub enabled: bool,
    /// Websocket of the bridge; checked.
    pub bridge: Option<String>,
    /// The bridge's token.
    pub token: Option<Credential>,
    /// Who is answered.
    pub allow_from: Vec<String>,
    /// What the bridge speaks.
    pub dialect: BridgeDialect,
    /// Folder that files of messages may lie in.
    pub media: Option<PathBuf>,
    /// Largest first delay before the bridge is dialled again.
    pub reconnect: Duration,
}

impl WhatsAppSettings {
    /// As the variables say.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn load(reader: &Reader<'_>) -> Result<WhatsAppSettings, KeyError> {
        let text = |name| reader.text(name).map(|(text, _)| text);
        Ok(WhatsAppSettings {
            enabled: reader.flag("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED")?,
            bridge: text("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL"),
            token: credential(reader, "RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN"),
            allow_from: reader.list("RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM"),
            dialect: match reader.choice("RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT")?.as_str() {
                "p" => BridgeDialect::P,
                "n" => BridgeDialect::N,
                _ => BridgeDialect::Auto,
            },
            media: text("RUSTY_PINCH_CHANNELS_WHATSAPP_MEDIA_DIR").map(PathBuf::from),
            reconnect: reader.millis("RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS")?,
        })
    }

    /// Scheme, host and port of the bridge: what may be shown.
    pub fn bridge_origin(&self) -> String {
        let url = self.bridge.as_deref().unwrap_or_default();
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
        url[..end].to_owned()
    }
}
