//! Who may speak (contract §15.1): an entry is an id of a person or of a chat, `*` is everyone, and an empty list is
//! nobody. Ids only: a user name can be taken over by somebody else.

/// The operator's list.
#[derive(Clone, Debug)]
pub struct Allowlist {
    entries: Vec<String>,
}

impl Allowlist {
    /// From the configured items.
    pub fn new(entries: &[String]) -> Allowlist {
        Allowlist { entries: entries.to_vec() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody may speak.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether this very id is an entry.
    pub fn names(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| entry == id)
    }

    /// Whether a message of `sender` in `chat` is answered.
    pub fn allows(&self, sender: &str, chat: &str) -> bool {
        self.entries.iter().any(|entry| entry == "*" || entry == sender || entry == chat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entries: &[&str], sender: &str, chat: &str, want: bool) {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        assert_eq!(Allowlist::new(&entries).allows(sender, chat), want);
    }

    #[test]
    fn an_entry_matches_the_sender_or_the_chat_exactly() {
        check(&[], "7", "7", false);
        check(&["*"], "7", "-100", true);
        check(&["7"], "7", "-100", true);
        check(&["-100"], "8", "-100", true);
        check(&["70", "@seven", "+7"], "7", "7", false);
    }
}
