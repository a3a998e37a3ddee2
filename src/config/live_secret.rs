//! [`LiveSecret`]: a credential that can be replaced while it is in use. [`KnownSecrets`]: every value that no output may hold.
//! Both are shared between threads; what is held is held for the moment of a copy.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::secret::Secret;

/// Secrets that were replaced and are still kept out of every output; the oldest goes first.
pub const PREVIOUS_MAX: usize = 8;

/// A credential in use. Cloning shares it. A call takes the value when it begins and keeps it until it has ended, so that what
/// is under way finishes with the old one.
#[derive(Clone)]
pub struct LiveSecret(Arc<Mutex<Arc<Secret>>>);

impl LiveSecret {
    /// In use from now on.
    pub fn new(secret: Secret) -> LiveSecret {
        LiveSecret(Arc::new(Mutex::new(Arc::new(secret))))
    }

    /// The value of this moment.
    pub fn current(&self) -> Arc<Secret> {
        Arc::clone(&locked(&self.0))
    }

    /// Every call that begins after this uses `secret`.
    pub fn replace(&self, secret: Secret) {
        *locked(&self.0) = Arc::new(secret);
    }
}

impl fmt::Debug for LiveSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secrets of the process: those that are set, and those that were. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct KnownSecrets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    current: Vec<Secret>,
    /// The newest last.
    previous: VecDeque<Secret>,
    forms: Arc<Vec<Secret>>,
}

impl KnownSecrets {
    /// Knows these.
    pub fn new(current: Vec<Secret>) -> KnownSecrets {
        let known = KnownSecrets::default();
        known.learn(current);
        known
    }

    /// From here on these are the ones that are set or in use. What was and is not among them stays known, up to
    /// [`PREVIOUS_MAX`].
    pub fn learn(&self, current: Vec<Secret>) {
        let mut known = locked(&self.0);
        let has = |secret: &Secret| current.iter().any(|other| other.reveal() == secret.reveal());
        let gone: Vec<Secret> = known.current.iter().filter(|secret| !has(secret)).cloned().collect();
        known.previous.retain(|secret| !has(secret) && gone.iter().all(|other| other.reveal() != secret.reveal()));
        known.previous.extend(gone);
        let surplus = known.previous.len().saturating_sub(PREVIOUS_MAX);
        known.previous.drain(..surplus);
        known.current = current;
        known.forms = Arc::new(forms(known.current.iter().chain(&known.previous)));
    }

    /// Every value as it stands in text and as JSON writes it, the longest first: of two that begin alike the end of the longer
    /// one would stay.
    pub fn forms(&self) -> Arc<Vec<Secret>> {
        Arc::clone(&locked(&self.0).forms)
    }
}

fn forms<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Vec<Secret> {
    let mut forms: Vec<Secret> = Vec::new();
    for secret in secrets {
        let encoded = serde_json::to_string(secret.reveal()).expect("a string is JSON");
        let encoded = encoded.get(1..encoded.len() - 1).unwrap_or_default();
        if encoded != secret.reveal() {
            forms.push(Secret::new(encoded.to_owned()));
        }
        // The second half of a bot's token is the secret one, and what stands between the halves depends on who writes it.
        if let Some((_, half)) = secret.reveal().split_once(':') {
            forms.push(Secret::new(half.to_owned()));
        }
        forms.push(secret.clone());
    }
    forms.sort_by_key(|form| std::cmp::Reverse(form.reveal().len()));
    forms
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Vec<Secret> {
        values.iter().map(|value| Secret::new((*value).to_owned())).collect()
    }

    fn shown(known: &KnownSecrets) -> Vec<String> {
        let mut forms: Vec<String> = known.forms().iter().map(|form| form.reveal().to_owned()).collect();
        forms.sort();
        forms
    }

    #[test]
    fn a_call_under_way_keeps_the_old_value_and_the_next_one_takes_the_new() {
        let live = LiveSecret::new(Secret::new("old".to_owned()));
        let (shared, under_way) = (live.clone(), live.current());
        shared.replace(Secret::new("new".to_owned()));
        assert_eq!((under_way.reveal(), live.current().reveal()), ("old", "new"));
        assert_eq!(format!("{live:?}"), "***");
    }

    #[test]
    fn what_was_replaced_stays_known_up_to_a_limit_and_what_is_in_use_for_ever() {
        let known = KnownSecrets::new(secrets(&["in use", "0"]));
        for turn in 1..=PREVIOUS_MAX + 3 {
            known.clone().learn(secrets(&["in use", &turn.to_string()]));
        }
        let mut want: Vec<String> = (3..=PREVIOUS_MAX + 3).map(|turn| turn.to_string()).collect();
        want.push("in use".to_owned());
        want.sort();
        assert_eq!(shown(&known), want);
        known.learn(secrets(&["in use", "11"]));
        assert_eq!(shown(&known), want, "the same again changes nothing");
        known.learn(secrets(&["in use", "5"]));
        assert_eq!(shown(&known), want, "one that comes back is not counted twice");
        assert!(!format!("{known:?}").contains("in use"));
    }

    #[test]
    fn each_value_is_known_in_every_form_and_the_longest_comes_first() {
        let known = KnownSecrets::new(secrets(&["a", "12:abc", "q\"q"]));
        assert_eq!(shown(&known), ["12:abc", "a", "abc", "q\"q", "q\\\"q"]);
        let lengths: Vec<usize> = known.forms().iter().map(|form| form.reveal().len()).collect();
        assert!(lengths.is_sorted_by(|left, right| left >= right), "{lengths:?}");
    }
}
