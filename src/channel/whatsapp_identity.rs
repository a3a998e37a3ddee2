//! Who is who on WhatsApp. One person has a phone number and a LID, and bridges write either, in several spellings; a
//! group has an id of its own. [`Id`] is the normal form. [`Identities`] decides who is answered, and remembers which LID
//! belongs to which number of the allowlist, so that a message that names only the LID is not refused.

use serde::{Deserialize, Serialize};

use crate::base::sorted::SortedMap;
use crate::channel::allowlist::Allowlist;

/// Pairs that are remembered; beyond that a new one takes the place of another.
pub const PAIRS_MAX: usize = 1000;

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A phone number.
    Phone,
    /// A person without a number.
    Lid,
    /// A group.
    Group,
    /// Something else, compared as it is written.
    Other,
}

/// A normalised id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// What it names.
    pub kind: Kind,
    /// Its digits; for [`Kind::Other`] all of it.
    pub digits: String,
}

impl Id {
    /// Any spelling: `+49 151-1`, `49151`, `49151:12@s.whatsapp.net`, `49151@c.us`, `7@lid`, `1-2@g.us`.
    pub fn parse(text: &str) -> Id {
        let text = text.trim();
        let other = || Id { kind: Kind::Other, digits: text.to_owned() };
        let Some((user, server)) = text.split_once('@') else { return bare(text).unwrap_or_else(other) };
        let kind = match server.to_ascii_lowercase().as_str() {
            "s.whatsapp.net" | "c.us" | "hosted" => Kind::Phone,
            "lid" | "hosted.lid" => Kind::Lid,
            "g.us" => Kind::Group,
            _ => return other(),
        };
        // A device, and what older libraries call an agent.
        let account = user.split([':', '.', '_']).next().unwrap_or_default();
        let is_good = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match kind {
            Kind::Group if is_good(&account.replacen('-', "", 1)) => Id { kind, digits: account.to_owned() },
            Kind::Phone | Kind::Lid if is_good(account) => Id { kind, digits: account.to_owned() },
            _ => other(),
        }
    }

    /// One text for one id.
    pub fn name(&self) -> String {
        let server = match self.kind {
            Kind::Phone => "s.whatsapp.net",
            Kind::Lid => "lid",
            Kind::Group => "g.us",
            Kind::Other => return self.digits.clone(),
        };
        format!("{}@{server}", self.digits)
    }
}

/// Without a server: a number as people write it, or the id of an old group, which is a number, a dash and a time.
fn bare(text: &str) -> Option<Id> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_group =
        text.split_once('-').is_some_and(|(phone, time)| phone.len() > 6 && time.len() == 10 && digits(time));
    if is_group && digits(&text.replacen('-', "", 1)) {
        return Some(Id { kind: Kind::Group, digits: text.to_owned() });
    }
    let signs = |c: char| matches!(c, ' ' | '-' | '(' | ')' | '/');
    let plain: String = text.strip_prefix('+').unwrap_or(text).chars().filter(|c| !signs(*c)).collect();
    digits(&plain).then_some(Id { kind: Kind::Phone, digits: plain })
}

/// Which number a LID belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    v: u32,
    /// Digits of the number by digits of the LID.
    phone_of_lid: SortedMap<String, String>,
}

/// Why somebody is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no list.
    EmptyList,
    /// None of the names is on it.
    NotListed,
    /// A group of a bridge that knows no mentions, which is not on the list by its own id.
    GroupNotListed,
}

impl Refusal {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::EmptyList => "allowlist_empty",
            Refusal::NotListed => "not_on_allowlist",
            Refusal::GroupNotListed => "group_not_on_allowlist",
        }
    }
}

/// The allowlist, and what was learned about those on it.
#[derive(Clone, Debug)]
pub struct Identities {
    allowlist: Allowlist,
    known: Known,
}

impl Identities {
    /// From the configured entries.
    pub fn new(entries: &[String]) -> Identities {
        let normal = |entry: &String| if entry == "*" { entry.clone() } else { Id::parse(entry).name() };
        let entries: Vec<String> = entries.iter().map(normal).collect();
        Identities { allowlist: Allowlist::new(&entries), known: Known::default() }
    }

    /// Whether nobody is answered.
    pub fn is_empty(&self) -> bool {
        self.allowlist.is_empty()
    }

    /// Adds what an earlier process learned, about those that are on the list now; `false` if that cannot be read.
    pub fn restore(&mut self, file: &[u8]) -> bool {
        let Ok(known) = serde_json::from_slice::<Known>(file) else { return false };
        let pairs = known.phone_of_lid.into_iter().filter(|(lid, phone)| {
            self.lists(&Id { kind: Kind::Lid, digits: lid.clone() })
                || self.lists(&Id { kind: Kind::Phone, digits: phone.clone() })
        });
        let pairs: SortedMap<String, String> = pairs.take(PAIRS_MAX).collect();
        self.known.phone_of_lid.extend(pairs);
        true
    }

    /// What the next process should know.
    pub fn to_file(&self) -> Vec<u8> {
        let known = Known { v: 1, ..self.known.clone() };
        let mut file = serde_json::to_vec(&known).expect("texts are JSON");
        file.push(b'\n');
        file
    }

    /// Takes in that these names are of one person; `true` if that is news. Only pairs that decide about somebody on the
    /// list are kept, so strangers can fill nothing.
    pub fn learn(&mut self, names: &[String]) -> bool {
        let ids: Vec<Id> = names.iter().map(|name| Id::parse(name)).collect();
        let of = |kind: Kind| ids.iter().find(|id| id.kind == kind);
        let (Some(lid), Some(phone)) = (of(Kind::Lid), of(Kind::Phone)) else { return false };
        if !self.lists(phone) && !self.lists(lid) || self.known.phone_of_lid.get(&lid.digits) == Some(&phone.digits) {
            return false;
        }
        if self.known.phone_of_lid.len() >= PAIRS_MAX {
            self.known.phone_of_lid.pop_first();
        }
        self.known.phone_of_lid.insert(lid.digits.clone(), phone.digits.clone());
        true
    }

    fn lists(&self, id: &Id) -> bool {
        self.allowlist.names(&id.name())
    }

    /// Every name under which somebody may be listed: those that were given, and their other halves.
    fn candidates(&self, author: &[String]) -> Vec<String> {
        let mut found: Vec<Id> = author.iter().map(|name| Id::parse(name)).collect();
        for id in found.clone() {
            let pairs = self.known.phone_of_lid.iter();
            match id.kind {
                Kind::Lid => found.extend(
                    self.known
                        .phone_of_lid
                        .get(&id.digits)
                        .map(|phone| Id { kind: Kind::Phone, digits: phone.clone() }),
                ),
                Kind::Phone => found.extend(
                    pairs
                        .filter(|(_, phone)| **phone == id.digits)
                        .map(|(lid, _)| Id { kind: Kind::Lid, digits: lid.clone() }),
                ),
                Kind::Group | Kind::Other => {}
            }
        }
        found.iter().map(Id::name).collect()
    }

    /// Whether a message is answered (contract §15.1). `is_whole_group`: the bridge cannot say which messages of a group
    /// are for us, so the group has to be on the list by its own id.
    pub fn check(&self, author: &[String], chat: &str, is_group: bool, is_whole_group: bool) -> Result<(), Refusal> {
        if self.is_empty() {
            return Err(Refusal::EmptyList);
        }
        let chat = Id::parse(chat).name();
        if is_group && is_whole_group {
            return if self.allowlist.names(&chat) { Ok(()) } else { Err(Refusal::GroupNotListed) };
        }
        let candidates = self.candidates(author);
        if candidates.iter().any(|name| self.allowlist.allows(name, &chat)) { Ok(()) } else { Err(Refusal::NotListed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, kind: Kind, digits: &str) {
        assert_eq!(Id::parse(text), Id { kind, digits: digits.to_owned() }, "{text}");
    }

    #[test]
    fn every_spelling_of_an_id_is_one_id() {
        for spelling in ["4915112345", "+49 151-12345", "4915112345@s.whatsapp.net", "4915112345:17@s.whatsapp.net"] {
            check(spelling, Kind::Phone, "4915112345");
        }
        check("4915112345@c.us", Kind::Phone, "4915112345");
        check("4915112345.0:3@s.whatsapp.net", Kind::Phone, "4915112345");
        check("77:2@lid", Kind::Lid, "77");
        check("120363041@g.us", Kind::Group, "120363041");
        check("4915112345-1600000000@g.us", Kind::Group, "4915112345-1600000000");
        check("4915112345-1600000000", Kind::Group, "4915112345-1600000000");
        for strange in ["alice", "status@broadcast", "@lid", "x@s.whatsapp.net", "1-2-3@g.us", "", "+"] {
            check(strange, Kind::Other, strange);
        }
    }

    fn identities(entries: &[&str]) -> Identities {
        Identities::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn may(entries: &[&str], author: &[&str], chat: &str, want: Result<(), Refusal>) {
        let is_group = chat.ends_with("@g.us");
        assert_eq!(identities(entries).check(&names(author), chat, is_group, false), want, "{entries:?} {author:?}");
    }

    #[test]
    fn entries_match_every_candidate_alike() {
        may(&[], &["1@lid"], "1@lid", Err(Refusal::EmptyList));
        may(&["*"], &["1@lid"], "1@lid", Ok(()));
        may(&["+49 151"], &["1@lid", "49151@s.whatsapp.net"], "1@lid", Ok(()));
        may(&["49151@s.whatsapp.net"], &["49151:9@s.whatsapp.net"], "49151@s.whatsapp.net", Ok(()));
        may(&["1@lid"], &["1@lid"], "1@lid", Ok(()));
        may(&["1"], &["1@lid"], "1@lid", Err(Refusal::NotListed));
        may(&["120@g.us"], &["9@lid"], "120@g.us", Ok(()));
        may(&["9@lid"], &["9@lid"], "120@g.us", Ok(()));
        may(&["alice"], &["alice"], "alice", Ok(()));
        may(&["49151"], &["491512@s.whatsapp.net"], "491512@s.whatsapp.net", Err(Refusal::NotListed));
    }

    #[test]
    fn a_group_without_mentions_has_to_be_listed_itself() {
        let check = |entries: &[&str]| identities(entries).check(&names(&["49151"]), "120@g.us", true, true);
        assert_eq!(check(&["120@g.us"]), Ok(()));
        assert_eq!(check(&["*"]), Err(Refusal::GroupNotListed));
        assert_eq!(check(&["49151"]), Err(Refusal::GroupNotListed));
    }

    #[test]
    fn pairs_of_listed_people_are_learned_and_outlive_the_process() {
        let mut first = identities(&["49151", "8@lid"]);
        assert!(first.learn(&names(&["1@lid", "49151@s.whatsapp.net"])));
        assert!(!first.learn(&names(&["1@lid", "49151@s.whatsapp.net"])), "that is no news");
        assert!(!first.learn(&names(&["2@lid", "50@s.whatsapp.net"])), "nobody on the list");
        assert!(first.learn(&names(&["8:3@lid", "60@s.whatsapp.net"])));
        assert!(!first.learn(&names(&["1@lid"])));
        let mut second = identities(&["49151", "8@lid"]);
        assert!(second.restore(&first.to_file()));
        assert_eq!(second.check(&names(&["1@lid"]), "1@lid", false, false), Ok(()));
        assert_eq!(second.check(&names(&["60@s.whatsapp.net"]), "60@s.whatsapp.net", false, false), Ok(()));
        let mut third = identities(&["50", "8@lid"]);
        assert!(third.restore(&first.to_file()));
        assert_eq!(third.known.phone_of_lid.len(), 1, "who is not on the list any more is forgotten");
        assert!(!second.restore(b"nonsense"));
        assert!(second.restore(b"{\"future\":1}"));
    }

    #[test]
    fn pairs_are_bounded() {
        let mut one = identities(&["49151"]);
        for number in 0..PAIRS_MAX + 5 {
            one.learn(&names(&[&format!("{number}@lid"), "49151"]));
        }
        assert_eq!(one.known.phone_of_lid.len(), PAIRS_MAX);
    }
}
