//! What may be wrong with a WhatsApp bridge, in words: why a link ended ([`Lost`]), and what only a person can mend
//! ([`Parked`]), with what that person can do.

/// Close codes of bridges: no token came in time; the token is wrong; another client took the place.
const CLOSE_NO_TOKEN: u16 = 4001;
const CLOSE_BAD_TOKEN: u16 = 4003;
const CLOSE_REPLACED: u16 = 4009;

/// Why a link ended, or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody answers at that address.
    Unreachable,
    /// Its certificate is not trusted, or TLS failed otherwise.
    Untrusted,
    /// It answered the handshake with this status.
    Refused {
        /// Of HTTP.
        status: u16,
    },
    /// It did not finish the handshake, or what it said is none.
    NoHandshake,
    /// It said goodbye.
    Closed {
        /// Its reason.
        code: u16,
    },
    /// The connection broke.
    Broken,
    /// It broke the rules of the protocol, or a limit of size.
    Violation,
    /// Nothing was heard for too long.
    Silent,
    /// A send was not answered in time.
    Unanswered,
    /// It took no more bytes.
    Stalled,
    /// It sent more than there is room for, and will send it again.
    Overflow,
}

impl Lost {
    /// The phrase for logs.
    pub fn phrase(self) -> String {
        match self {
            Lost::Unreachable => "nobody answers there".to_owned(),
            Lost::Untrusted => "TLS failed: its certificate is not trusted".to_owned(),
            Lost::Refused { status } => format!("the handshake was answered with status {status}"),
            Lost::NoHandshake => "it does not finish the handshake of a websocket".to_owned(),
            Lost::Closed { code } => format!("it closed the link with code {code}"),
            Lost::Broken => "the connection broke".to_owned(),
            Lost::Violation => "it broke the rules of the protocol or a limit of size".to_owned(),
            Lost::Silent => "nothing was heard for too long".to_owned(),
            Lost::Unanswered => "a message was not answered in time".to_owned(),
            Lost::Stalled => "it takes no more bytes".to_owned(),
            Lost::Overflow => "it sent more messages than there is room for".to_owned(),
        }
    }

    /// Whether only a person can end it, and how. A token that came too late is the network's fault.
    pub(super) fn parks(self, starts_with_token: bool) -> Option<Parked> {
        match self {
            Lost::Closed { code: CLOSE_NO_TOKEN | CLOSE_BAD_TOKEN } if !starts_with_token => Some(Parked::NoToken),
            Lost::Closed { code: CLOSE_BAD_TOKEN } => Some(Parked::BadToken),
            Lost::Refused { status: 401 | 403 } => Some(Parked::Forbidden),
            Lost::Closed { code: CLOSE_REPLACED } => Some(Parked::OtherClient),
            _ => None,
        }
    }
}

/// Why a person has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// The bridge wants a token and there is none.
    NoToken,
    /// The bridge rejects the token.
    BadToken,
    /// The handshake is forbidden, before any token is shown.
    Forbidden,
    /// Another program took our place at the bridge.
    OtherClient,
    /// The phone ended the link.
    LoggedOut,
    /// Another session took the place of the bridge.
    Replaced,
    /// No phone is linked yet.
    NotLinked,
}

impl Parked {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Parked::NoToken | Parked::BadToken | Parked::Forbidden => "auth",
            Parked::OtherClient => "conflict",
            Parked::LoggedOut => "logged_out",
            Parked::Replaced => "replaced",
            Parked::NotLinked => "not_linked",
        }
    }

    /// What the operator can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Parked::NoToken => {
                "the bridge wants a token: set RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN to the bridge's and restart"
            }
            Parked::BadToken => {
                "the bridge rejects the token: set RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN to the bridge's and restart, or \
                 send SIGHUP to look again now"
            }
            Parked::Forbidden => {
                "the bridge, or a proxy before it, forbids us to connect: let us in there, then send SIGHUP to look again now"
            }
            Parked::OtherClient => {
                "another program has taken our place at the bridge: stop it, then send SIGHUP to look again now"
            }
            Parked::LoggedOut => {
                "the phone has ended the link, or WhatsApp refuses the account: look at the phone, then link it again at the \
                 bridge, as its manual says; nothing has to be restarted here"
            }
            Parked::Replaced => {
                "another session has taken the place of the bridge at WhatsApp: end that one, then restart the bridge"
            }
            Parked::NotLinked => "no phone is linked: link one at the bridge, as its manual says",
        }
    }

    /// Whether the bridge goes on by itself once it is mended, on the link that stands.
    pub(super) fn ends_by_status(self) -> bool {
        matches!(self, Parked::LoggedOut | Parked::Replaced | Parked::NotLinked)
    }
}
