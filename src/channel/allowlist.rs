//! Who may speak (contract §15.1): an entry is an id of a person or of a chat, `*` is everyone, and an empty list is
//! nobody. Ids only: a user name can be taken over by somebody else.

/// The operator's list, and people who were paired.
#[derive(Clone, Debug)]
pub struct Allowlist {
    entries: Vec<String>,
    paired: Vec<String>,
}

impl Allowlist {
    /// From the configured items.
    pub fn new(entries: &[String]) -> Allowlist {
        Allowlist { entries: entries.to_vec(), paired: Vec::new() }
    }

    /// These people, and no others, are paired.
    pub fn pair(&mut self, paired: Vec<String>) {
        self.paired = paired;
    }

    /// Who is.
    pub fn paired(&self) -> &[String] {
        &self.paired
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.paired.len()
    }

    /// Whether nobody may speak.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.paired.is_empty()
    }

    /// Whether this very id is an entry.
    pub fn names(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| entry == id)
    }

    /// Whether a message of `sender` in `chat` is answered.
    pub fn allows(&self, sender: &str, chat: &str) -> bool {
        let is_listed = |entry: &String| entry == "*" || entry == sender || entry == chat;
        self.entries.iter().any(is_listed) || self.paired.iter().any(|id| id == sender)
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

    #[test]
    fn who_is_paired_is_answered_as_a_person_wherever_they_write() {
        let mut list = Allowlist::new(&[]);
        list.pair(vec!["7".to_owned(), "*".to_owned()]);
        assert!(list.allows("7", "-100") && !list.allows("8", "7") && !list.is_empty());
        list.pair(Vec::new());
        assert!(!list.allows("7", "7") && list.is_empty());
    }
}
