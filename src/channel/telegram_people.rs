//! [`People`]: who of those who write is answered: who is on the list of the operator, and who was paired. Part of the `poll`
//! thread; takes what commands ask for, is the only one who writes the file of pairings, and says what the operator should know.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Clock, Mono};
use crate::base::id::ChannelId;
use crate::channel::allowlist::Allowlist;
use crate::channel::denied::Denied;
use crate::channel::pairing::{Verdict, as_code};
use crate::channel::pairing_file::PairingFile;
use crate::channel::telegram_api::Incoming;
use crate::observe::event::{Event, Log};

/// How often it is said that nobody is answered.
const EMPTY_SAID_EVERY: Duration = Duration::from_secs(60);

/// In place of a code, which is nobody's to read: the person is greeted.
const GREETING: &str = "/start";

/// The list, and who was refused lately.
pub struct People {
    allowlist: Allowlist,
    pairing: PairingFile,
    /// What was last said to be wrong with it.
    failed: Option<String>,
    denied: Denied,
    empty_said: Option<Mono>,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
}

impl People {
    /// `data` is the folder of the pairings.
    pub fn new(allowlist: Allowlist, data: PathBuf, clock: Arc<dyn Clock>, log: Arc<dyn Log>) -> People {
        let (pairing, denied) = (PairingFile::new(data), Denied::default());
        People { allowlist, pairing, failed: None, denied, empty_said: None, clock, log }
    }

    /// Takes over who was paired or removed meanwhile.
    pub fn look(&mut self) {
        let mut news = None;
        let failed = self.pairing.look(self.clock.as_ref(), &mut news).err();
        if let Some(ids) = news {
            let gone: Vec<String> = self.allowlist.paired().iter().filter(|id| !ids.contains(id)).cloned().collect();
            gone.into_iter().for_each(|id| self.say_pairing(id, "removed"));
            self.allowlist.pair(ids);
        }
        // What stays as it is was said.
        let said = failed.as_ref().map(ToString::to_string);
        if let Some(error) = failed.filter(|_| self.failed != said) {
            self.complain(&error);
        }
        self.failed = said;
        let now = self.clock.mono();
        match (self.allowlist.is_empty(), self.empty_said) {
            (true, said) if said.is_none_or(|said| said.after(EMPTY_SAID_EVERY) <= now) => {
                self.empty_said = Some(now);
                self.emit(&Event::ChannelParked {
                    channel: ChannelId::Telegram,
                    reason: "allowlist_empty".to_owned(),
                    remedy: "run 'rusty-pinch pair telegram', or set RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM to the \
                             ids that may write"
                        .to_owned(),
                    retry_ms: 0,
                });
            }
            (false, Some(_)) => {
                self.empty_said = None;
                self.emit(&Event::ChannelResumed { channel: ChannelId::Telegram });
            }
            _ => {}
        }
    }

    /// The same; says once more that nobody is answered, because something else was said to be over.
    pub fn look_anew(&mut self) {
        self.empty_said = None;
        self.look();
    }

    /// Whether a message is answered. One that is the code on offer becomes a greeting, whoever may write: no model reads it.
    pub fn welcomes(&mut self, incoming: &mut Incoming) -> bool {
        let may_write = self.allowlist.allows(&incoming.sender, &incoming.chat.id);
        // A private chat has the id of its person.
        let may_try = may_write || incoming.chat.id == incoming.sender;
        if may_try && as_code(&incoming.text).is_some() && self.takes_code(incoming, may_write) {
            incoming.text = GREETING.to_owned();
            self.look();
            return true;
        }
        if !may_write {
            self.deny(incoming);
        }
        may_write
    }

    fn takes_code(&mut self, incoming: &Incoming, may_write: bool) -> bool {
        let judged = self.pairing.judge(&incoming.text, &incoming.sender, may_write, self.clock.as_ref());
        let status = match judged {
            Ok(Verdict::Paired) => "paired",
            Ok(Verdict::Spent) => "spent",
            Ok(Verdict::Wrong) => "wrong_code",
            Ok(Verdict::Locked) => "locked",
            Ok(Verdict::Nothing) => return false,
            Err(error) => {
                self.complain(&error);
                return false;
            }
        };
        self.say_pairing(incoming.sender.clone(), status);
        matches!(status, "paired" | "spent")
    }

    fn deny(&mut self, incoming: &Incoming) {
        if !self.denied.is_news(&incoming.sender, self.clock.mono()) {
            return;
        }
        self.emit(&Event::ChannelDenied {
            channel: ChannelId::Telegram,
            sender_id: incoming.sender.clone(),
            chat_id: incoming.chat.id.clone(),
            reason: if self.allowlist.is_empty() { "allowlist_empty" } else { "not_on_allowlist" },
        });
    }

    fn say_pairing(&self, sender_id: String, status: &'static str) {
        self.emit(&Event::ChannelPairing { channel: ChannelId::Telegram, sender_id, status });
    }

    fn complain(&self, error: &std::io::Error) {
        self.emit(&Event::StorageError { what: "pairing.json".to_owned(), error: error.to_string() });
    }

    fn emit(&self, event: &Event) {
        self.log.emit(self.clock.wall(), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Wall};
    use std::fs;
    use std::sync::Mutex;

    /// What was said.
    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl Log for Said {
        fn emit(&self, _at: Wall, event: &Event) {
            let said = match event {
                Event::StorageError { error, .. } => error.clone(),
                Event::ChannelPairing { sender_id, status, .. } => format!("{sender_id} {status}"),
                _ => return,
            };
            self.0.lock().expect("no panic").push(said);
        }
    }

    /// Seen to fail without the memory of it: once for each poll.
    #[test]
    fn what_cannot_be_read_is_said_once_until_it_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::starting_at(Wall(1_800_000_000_000)));
        let said = Arc::new(Said::default());
        let log: Arc<dyn Log> = Arc::<Said>::clone(&said);
        let mut people = People::new(Allowlist::new(&[]), folder.path().to_owned(), clock, log);
        let spool = folder.path().join("spool/pairing");
        fs::create_dir_all(&spool).expect("our own folder");
        fs::write(folder.path().join("pairing.json"), r#"{"paired":[{"id":"42","at":1}]}"#).expect("written");
        for _ in 0..2 {
            fs::write(spool.join("remove-1.json"), "nonsense").expect("written");
            (0..3).for_each(|_| people.look());
            fs::remove_file(spool.join("remove-1.json")).expect("there");
            people.look();
        }
        fs::write(spool.join("remove-42.json"), r#"{"paired":[{"id":"42","at":1}]}"#).expect("written");
        (0..2).for_each(|_| people.look());
        let unread = "a request in spool/pairing: invalid data";
        assert_eq!(*said.0.lock().expect("no panic"), [unread, unread, "42 removed"]);
    }
}
