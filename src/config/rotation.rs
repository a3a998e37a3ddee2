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
    /// The Codex program.
    Codex,
    /// A WhatsApp bridge, by its URL.
    Bridge(String),
    /// This process: whoever asks its health endpoint brings it.
    Own,
}

/// A secret in use, and where.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Who uses it, in a word: `telegram`, or the provider.
    pub user: String,
    /// Which place in the chain of providers that is.
    pub place: usize,
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
    fn new(user: &str, place: usize, receiver: Receiver, credential: &Credential) -> Slot {
        let Credential { secret, name, source } = credential.clone();
        Slot { user: user.to_owned(), place, receiver, name: name.to_owned(), source, secret }
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
    let token = token.map(|token| Slot::new("telegram", 0, Receiver::Telegram(telegram.base.clone()), token));
    let keys = config.chain().enumerate().filter_map(|(place, settings)| {
        let (key, base) = settings.key.as_ref().zip(settings.base.clone())?;
        Some(Slot::new(&settings.name, place, Receiver::Http(settings.kind, base), key))
    });
    let accounts = config.codex.accounts.iter().filter(|_| config.uses_codex());
    let of_codex = accounts.filter_map(|account| {
        let (name, secret) = (account.key_variable.clone()?, account.key.clone()?);
        let (user, source) = (format!("codex account {}", account.id), account.key_source.clone());
        Some(Slot { user, place: 0, receiver: Receiver::Codex, name, source, secret })
    });
    let bridge = config.whatsapp.token.iter().zip(config.whatsapp.bridge.clone());
    let bridge = bridge.map(|(token, url)| Slot::new("whatsapp", 0, Receiver::Bridge(url), token));
    let health = config.health.token.iter().filter(|_| config.health.address.is_some());
    let health = health.map(|token| Slot::new("health", 0, Receiver::Own, token));
    token.chain(bridge).chain(keys).chain(of_codex).chain(health).collect()
}

fn is_same(one: &Slot, other: &Slot) -> bool {
    one.user == other.user && one.place == other.place
}

/// What to do about `used`, now that the sources say `found`.
pub fn step<'a>(used: &Slot, found: &'a [Slot]) -> Step<'a> {
    let Some(new) = found.iter().find(|slot| is_same(slot, used)) else {
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
    found.iter().filter(|slot| !used.iter().any(|other| is_same(other, slot))).collect()
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
    fn each_place_of_a_chain_has_a_secret_of_its_own() {
        let chain = ("PROVIDER_CHAIN", "openrouter:a,openai,openrouter:b");
        let used = slots(&config(&[chain, ("API_KEY", "1"), ("OPENROUTER_API_KEY", "2"), ("OPENAI_API_KEY", "3")]));
        let found = slots(&config(&[chain, ("API_KEY", "1"), ("OPENROUTER_API_KEY", "4"), ("OPENAI_API_KEY", "3")]));
        let tried = used.iter().filter(|slot| matches!(step(slot, &found), Step::Try(_))).map(|slot| slot.place);
        assert_eq!(tried.collect::<Vec<_>>(), [0, 2]);
        let turned = [("PROVIDER_CHAIN", "openai,openrouter"), ("OPENROUTER_API_KEY", "2"), ("OPENAI_API_KEY", "3")];
        assert!(used.iter().all(|slot| matches!(step(slot, &slots(&config(&turned))), Step::Keep(_))));
    }

    #[test]
    fn each_account_of_codex_has_a_secret_of_its_own() {
        let with = |value: &str| {
            let accounts = ("CODEX_ACCOUNTS", "a|RUSTY_PINCH_API_KEY;b|RUSTY_PINCH_GROQ_API_KEY;c");
            slots(&config(&[accounts, ("API_KEY", "1"), ("GROQ_API_KEY", value)]))
        };
        let (used, found) = (with("2"), with("3"));
        let tried = used.iter().filter(|slot| matches!(step(slot, &found), Step::Try(_)));
        assert_eq!(tried.map(|slot| slot.user.as_str()).collect::<Vec<_>>(), ["codex account b"]);
        assert_eq!(used.len(), 2);
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
