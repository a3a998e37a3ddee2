//! What becomes of the secrets in use when the sources are read again: the same, another one to try, or a reason to keep the
//! old. Pure; asking the other side and replacing is `cli/reload.rs`.

use crate::config::endpoint::Endpoint;
use crate::config::keys::Source;
use crate::config::live_secret::LiveSecret;
use crate::config::settings::{Config, Credential, ProviderKind};

/// Who a secret is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The Bot API.
    Telegram(Endpoint),
    /// A server of chat completions.
    Http(ProviderKind, Endpoint),
}

/// A secret in use, and where.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Who uses it, in a word: `telegram`, or the provider.
    pub user: String,
    /// Who gets it.
    pub receiver: Receiver,
    /// Its variable.
    pub name: String,
    /// Where its value came from.
    pub source: Source,
    /// The value, shared with those who send it.
    pub secret: LiveSecret,
}

impl Slot {
    fn new(user: &str, receiver: Receiver, credential: &Credential) -> Slot {
        let Credential { secret, name, source } = credential.clone();
        Slot { user: user.to_owned(), receiver, name: name.to_owned(), source, secret }
    }
}

/// What to do about a secret in use.
#[derive(Debug)]
pub enum Step<'a> {
    /// It is the same.
    Unchanged,
    /// It is another one, and the old is kept: why, and what mends it.
    Keep(&'static str),
    /// It is another one, and fits.
    Try(&'a Slot),
}

/// Every secret that is sent to somebody with this configuration.
pub fn slots(config: &Config) -> Vec<Slot> {
    let telegram = &config.telegram;
    let token = telegram.token.iter();
    let token = token.map(|token| Slot::new("telegram", Receiver::Telegram(telegram.base.clone()), token));
    let provider = &config.provider;
    let key = provider.key.iter().zip(&provider.base);
    let key = key.map(|(key, base)| Slot::new(&provider.name, Receiver::Http(provider.kind, base.clone()), key));
    token.chain(key).collect()
}

/// What to do about `used`, now that the sources say `found`.
pub fn step<'a>(used: &Slot, found: &'a [Slot]) -> Step<'a> {
    let Some(new) = found.iter().find(|slot| slot.user == used.user) else {
        return Step::Keep("the settings hold no such secret any more; restart the worker");
    };
    let (old_value, new_value) = (used.secret.current(), new.secret.current());
    if old_value.reveal() == new_value.reveal() {
        return Step::Unchanged;
    }
    if used.receiver != new.receiver {
        // A new key that belongs to another server must not go to this one.
        return Step::Keep("the server it is sent to has changed, too; restart the worker");
    }
    let bot = |value: &str| value.split_once(':').map(|(bot, _)| bot.to_owned());
    match used.receiver {
        // Offsets and the names of messages are those of the bot.
        Receiver::Telegram(_) if bot(old_value.reveal()) != bot(new_value.reveal()) => {
            Step::Keep("it is the token of another bot; restart the worker if that is meant")
        }
        _ => Step::Try(new),
    }
}

/// The secrets that nobody used when the worker started.
pub fn added<'a>(used: &[Slot], found: &'a [Slot]) -> Vec<&'a Slot> {
    found.iter().filter(|slot| used.iter().all(|other| other.user != slot.user)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let own = |(name, value): &(&str, &str)| (format!("RUSTY_PINCH_{name}"), ((*value).to_owned(), Source::File));
        Config::load(&pairs.iter().map(own).collect()).expect("it fits")
    }

    const BEFORE: &[(&str, &str)] =
        &[("PROVIDER", "openai"), ("OPENAI_API_KEY", "old"), ("CHANNELS_TELEGRAM_TOKEN", "7:old")];

    /// What becomes of each secret of `BEFORE`, in the order token, key.
    #[track_caller]
    fn check(after: &[(&str, &str)], want: [&str; 2], new: usize) {
        let (used, found) = (slots(&config(BEFORE)), slots(&config(after)));
        let told = used.iter().map(|slot| match step(slot, &found) {
            Step::Unchanged => "same".to_owned(),
            Step::Keep(why) => why.to_owned(),
            Step::Try(new) => new.secret.current().reveal().to_owned(),
        });
        let told: Vec<String> = told.collect();
        assert!(told.len() == 2 && told.iter().zip(want).all(|(told, want)| told.contains(want)), "{told:?}");
        assert_eq!(added(&used, &found).len(), new);
    }

    #[test]
    fn each_secret_is_the_same_tried_or_kept_for_a_reason() {
        let token = ("CHANNELS_TELEGRAM_TOKEN", "7:old");
        check(BEFORE, ["same", "same"], 0);
        check(&[BEFORE[0], ("API_KEY", "old"), token], ["same", "same"], 0);
        check(&[BEFORE[0], ("OPENAI_API_KEY", "new"), ("CHANNELS_TELEGRAM_TOKEN", "7:new")], ["7:new", "new"], 0);
        check(&[BEFORE[0], BEFORE[1], ("CHANNELS_TELEGRAM_TOKEN", "8:new")], ["another bot", "same"], 0);
        check(
            &[BEFORE[0], ("OPENAI_API_KEY", "new"), token, ("API_BASE", "https://example.org/v1")],
            ["same", "server"],
            0,
        );
        check(&[("PROVIDER", "groq"), ("GROQ_API_KEY", "new"), token], ["same", "no such secret"], 1);
        check(&[BEFORE[0]], ["no such secret", "no such secret"], 0);
    }
}
