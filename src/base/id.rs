//! Names: [`ChannelId`], [`TurnId`] and [`SessionId`], each parsed once at the border.
//!
//! A turn has one name everywhere: `rp-` and 26 time-ordered characters (the ULID layout: 48 bits of milliseconds,
//! 80 random bits, Crockford's base 32). It is the `request_id` of logs, the `rid` of session lines and the `id` of
//! journal records. A session *is* its file stem: `telegram:42` and `telegram_42` are the same session on purpose.

use std::fmt;

use crc::{CRC_32_ISCSI, Crc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::clock::Wall;
use crate::base::rng::Rng;

/// CRC-32C (Castagnoli), the checksum of every format we write.
pub const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Longest session name accepted, in bytes.
pub const SESSION_NAME_BYTES_MAX: usize = 200;

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TURN_ID_CHARS: usize = 26;

/// A way in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelId {
    /// Telegram long polling.
    Telegram,
    /// A WhatsApp websocket bridge.
    WhatsApp,
    /// `run`, `repl` and `tools run`.
    Console,
}

impl ChannelId {
    /// Those that have a worker, and so a journal.
    pub const WITH_WORKER: [ChannelId; 2] = [ChannelId::Telegram, ChannelId::WhatsApp];

    /// The name in logs, metrics and folder names.
    pub fn name(self) -> &'static str {
        match self {
            ChannelId::Telegram => "telegram",
            ChannelId::WhatsApp => "whatsapp",
            ChannelId::Console => "console",
        }
    }
}

/// One accepted message and all that follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(u128);

impl TurnId {
    /// A new name. Unique across processes as long as their generators are seeded by the system.
    pub fn mint(now: Wall, rng: &mut Rng) -> TurnId {
        let random = (u128::from(rng.bits()) << 16) | u128::from(rng.bits() & 0xffff);
        TurnId((u128::from(now.0 & 0xffff_ffff_ffff) << 80) | random)
    }

    /// When it was minted.
    pub fn minted(self) -> Wall {
        Wall(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX))
    }

    /// The inverse of `Display`; `None` for anything else.
    pub fn parse(text: &str) -> Option<TurnId> {
        let digits = text.strip_prefix("rp-")?;
        if digits.len() != TURN_ID_CHARS {
            return None;
        }
        let mut value: u128 = 0;
        for byte in digits.bytes() {
            let digit = CROCKFORD.iter().position(|&known| known == byte)?;
            value = value.checked_mul(32)?.checked_add(digit as u128)?;
        }
        Some(TurnId(value))
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"rp-00000000000000000000000000";
        let mut rest = self.0;
        for slot in text.iter_mut().skip(3).rev() {
            *slot = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TurnId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TurnId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TurnId, D::Error> {
        let text = String::deserialize(deserializer)?;
        TurnId::parse(&text).ok_or_else(|| serde::de::Error::custom("not a turn id"))
    }
}

/// Where a conversation is kept. Two values are equal when their files are.
#[derive(Clone, Debug)]
pub struct SessionId {
    name: String,
    stem: String,
}

/// Why a session name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNameError {
    /// Nothing was given.
    Empty,
    /// More than [`SESSION_NAME_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for SessionNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionNameError::Empty => f.write_str("the session name is empty: give one, such as --session notes"),
            SessionNameError::TooLong => {
                write!(f, "the session name is longer than {SESSION_NAME_BYTES_MAX} bytes: use a shorter one")
            }
        }
    }
}

impl SessionId {
    /// Accepts any name of 1 to [`SESSION_NAME_BYTES_MAX`] bytes.
    pub fn parse(name: &str) -> Result<SessionId, SessionNameError> {
        if name.is_empty() {
            return Err(SessionNameError::Empty);
        }
        if name.len() > SESSION_NAME_BYTES_MAX {
            return Err(SessionNameError::TooLong);
        }
        let mut stem: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        if !name.chars().all(plain) && !is_channel_name(name) {
            stem.push_str(&format!("-{:08x}", CRC32C.checksum(name.as_bytes())));
        }
        Ok(SessionId { name: name.to_owned(), stem })
    }

    /// The session of a chat. A chat id too long to be a name (no channel has such) stands by its checksum.
    pub fn of_chat(channel: ChannelId, chat: &str) -> SessionId {
        SessionId::parse(&format!("{}:{chat}", channel.name())).unwrap_or_else(|_| {
            let stem = format!("{}_{:08x}", channel.name(), CRC32C.checksum(chat.as_bytes()));
            SessionId { name: stem.clone(), stem }
        })
    }

    /// The name as it was given, for logs and tools.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file name without `.jsonl`: ASCII letters, digits, `-` and `_` only.
    pub fn stem(&self) -> &str {
        &self.stem
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &SessionId) -> bool {
        self.stem == other.stem
    }
}

impl Eq for SessionId {}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The forms whose mapping earlier deployments rely on; every other name gets a checksum, so that no two collide.
fn is_channel_name(name: &str) -> bool {
    if let Some(chat) = name.strip_prefix("telegram:") {
        return digits(chat.strip_prefix('-').unwrap_or(chat));
    }
    let Some(chat) = name.strip_prefix("whatsapp:") else { return false };
    let account = chat.split_once('@').map_or(chat, |(account, _)| account);
    let server_known = match chat.split_once('@') {
        None => true,
        Some((_, server)) => matches!(server, "s.whatsapp.net" | "g.us" | "lid"),
    };
    let account_known = match account.split_once('-') {
        None => digits(account),
        Some((first, second)) => digits(first) && digits(second),
    };
    server_known && account_known
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, stem: &str) {
        assert_eq!(SessionId::parse(name).map(|session| session.stem), Ok(stem.to_owned()));
    }

    #[test]
    fn known_channel_names_keep_their_files() {
        check("telegram:42", "telegram_42");
        check("telegram:-1001234", "telegram_-1001234");
        check("telegram_42", "telegram_42");
        check("default", "default");
        check("whatsapp:4912@s.whatsapp.net", "whatsapp_4912_s_whatsapp_net");
        check("whatsapp:12-34@g.us", "whatsapp_12-34_g_us");
    }

    #[test]
    fn other_names_never_share_a_file() {
        let stems: Vec<_> =
            ["whatsapp:alice+1", "whatsapp:alice 1", "日本", "한국", "telegram:4 2", "a/b", "..", "telegram:"]
                .iter()
                .map(|name| SessionId::parse(name).expect("valid").stem)
                .collect();
        let distinct: std::collections::HashSet<_> = stems.iter().collect();
        assert_eq!(distinct.len(), stems.len(), "{stems:?}");
        assert!(stems.iter().all(|stem| stem.chars().all(plain)));
    }

    #[test]
    fn empty_and_long_names_are_refused() {
        assert_eq!(SessionId::parse(""), Err(SessionNameError::Empty));
        assert_eq!(SessionId::parse(&"x".repeat(201)), Err(SessionNameError::TooLong));
        assert!(SessionId::parse(&"x".repeat(200)).is_ok());
    }

    #[test]
    fn turn_ids_round_trip_and_sort_by_time() {
        let mut rng = Rng::from_seed(7);
        let early = TurnId::mint(Wall(1_000), &mut rng);
        let late = TurnId::mint(Wall(1_001), &mut rng);
        assert!(early.to_string() < late.to_string());
        assert_eq!(TurnId::parse(&early.to_string()), Some(early));
        assert_eq!(early.to_string().len(), 29);
    }

    #[test]
    fn nothing_else_parses_as_a_turn_id() {
        for text in [
            "",
            "rp-",
            "rp-0000000000000000000000000U",
            "rp-ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "xx-00000000000000000000000000",
        ] {
            assert_eq!(TurnId::parse(text), None, "{text}");
        }
    }
}
