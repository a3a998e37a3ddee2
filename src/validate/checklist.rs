//! The checklist, declared once: what each item claims, how it is shown without a person, what a person does at the phone, and
//! the gate that a run has to pass.

/// What the worker is put before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The bridge that is built in.
    Sim,
    /// The bridge of `packaging/whatsapp-bridge`, WhatsApp's side scripted.
    Bridge,
    /// The operator's own bridge and phone.
    Live,
}

impl Level {
    /// The word of the option. Every other word is `live`.
    pub fn parse(word: &str) -> Level {
        match word {
            "sim" => Level::Sim,
            "bridge" => Level::Bridge,
            _ => Level::Live,
        }
    }

    /// The word of the option.
    pub fn name(self) -> &'static str {
        match self {
            Level::Sim => "sim",
            Level::Bridge => "bridge",
            Level::Live => "live",
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it claims was seen.
    Pass,
    /// It was not.
    Fail,
    /// Nobody looked.
    Skip,
}

impl Verdict {
    /// The word in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skip => "skip",
        }
    }
}

/// One item.
#[derive(Debug)]
pub struct Check {
    /// `WA-01`.
    pub id: &'static str,
    /// What has to be true.
    pub claim: &'static str,
    /// How `sim` and `bridge` show it.
    pub shown: &'static str,
    /// What a person does at level `live`; blank: nothing, it is shown as at the other levels.
    pub person: &'static str,
    /// Which levels may skip it.
    pub skip: Skip,
}

/// Where an item may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Nowhere.
    Never,
    /// At level `bridge`, because only `live` can show all of it.
    AtBridge,
    /// At level `live`, because the levels before have shown it and a phone shows nothing more.
    AtLive,
}

impl Skip {
    /// Whether a run of this level passes without the item.
    pub fn allowed(self, level: Level) -> bool {
        matches!((self, level), (Skip::AtBridge, Level::Bridge) | (Skip::AtLive, Level::Live))
    }
}

/// Every item, in its order.
#[rustfmt::skip]
pub const CHECKS: [Check; 18] = [
    Check { id: "WA-01", claim: "the worker is connected, has said hello and knows that WhatsApp is reachable within 10 s", shown: "a worker is started", person: "", skip: Skip::Never },
    Check { id: "WA-02", claim: "`--max-messages 1` answers one message and exits 0", shown: "one message waits when the worker starts", person: "write one message to the linked account now; the worker answers it and ends", skip: Skip::Never },
    Check { id: "WA-03", claim: "95 of 100 messages are answered within 2 s", shown: "40 messages one after the other, answered by the echo", person: "write five messages, one after the other: each is answered by an echo within two seconds or so", skip: Skip::Never },
    Check { id: "WA-04", claim: "who is not on the list gets no answer, and the operator is told", shown: "a stranger writes three times, then somebody on the list", person: "write from a number that is not on the list: no answer comes", skip: Skip::Never },
    Check { id: "WA-05", claim: "frames that are no messages change nothing", shown: "codes for linking, unknown types, a change of state, own messages and reactions; then a message is answered", person: "react to an answer with an emoji, and edit and delete a message: no answer comes", skip: Skip::AtLive },
    Check { id: "WA-06", claim: "what cannot be read, or is too large, ends at most the link, never the worker", shown: "malformed and oversized frames, or the same from the library and from strange clients; then a message is answered by the same process", person: "", skip: Skip::AtLive },
    Check { id: "WA-07", claim: "after a restart of the bridge the link is back within 65 s, and nothing is lost (v2)", shown: "20 restarts, each with a message that the worker, standing still (SIGSTOP), has not taken; `sim` also counts what a bridge without v2 loses in five", person: "restart the bridge, write a message at once: it is answered", skip: Skip::Never },
    Check { id: "WA-08", claim: "a bridge that is gone without a word is noticed within 65 s", shown: "the bridge stands still (SIGSTOP), and later goes on", person: "stop the bridge with SIGSTOP: within 65 s the worker's log has channel_read_error; let it go on with SIGCONT", skip: Skip::AtLive },
    Check { id: "WA-09", claim: "a message that comes twice is answered once", shown: "the same id three times, and once more after a restart of the worker", person: "", skip: Skip::AtLive },
    Check { id: "WA-10", claim: "a reply that could not go waits, and goes after the reconnect: without a mark if it never left, with the mark if it may have arrived", shown: "a message comes while the bridge cannot send, and the bridge breaks off; then it breaks off behind a reply that it has not confirmed", person: "write, and cut the bridge's network at once; after a minute connect it again: the answer comes", skip: Skip::AtLive },
    Check { id: "WA-11", claim: "the messages of a chat are answered in their order", shown: "100 messages of one chat, 20 at a time", person: "write ten numbered messages quickly: the answers come in their order", skip: Skip::Never },
    Check { id: "WA-12", claim: "every script arrives as it was sent, also in texts over 4 KiB", shown: "emoji, right-to-left text and marks that combine, in 14 KiB of numbered words", person: "paste a long text with emoji: the echo is complete", skip: Skip::Never },
    Check { id: "WA-13", claim: "a bridge with a certificate that nobody vouches for is refused, and gets no byte of a request", shown: "a server with a certificate made for this address and signed by itself", person: "", skip: Skip::Never },
    Check { id: "WA-14", claim: "the worker ends within 10 s of SIGTERM, whatever it waits for", shown: "SIGTERM while a reply is not confirmed, while the bridge stands still, and while nobody is there", person: "", skip: Skip::Never },
    Check { id: "WA-15", claim: "kill -9 of the worker loses nothing, repeats nothing without the mark, and changes no text", shown: "200 kills at random moments, with messages under way", person: "", skip: Skip::AtLive },
    Check { id: "WA-16", claim: "memory, open files and threads do not grow", shown: "two minutes of messages with a broken link now and then", person: "leave this question open for 24 hours while the account is used", skip: Skip::AtBridge },
    Check { id: "WA-17", claim: "a phone that is unlinked, or a session that was replaced, makes the worker not ready and tells the operator what to do", shown: "the bridge says so, and later that it is connected", person: "unlink the device on the phone: the worker's log has channel_parked with what to do; link it again", skip: Skip::AtBridge },
    Check { id: "WA-18", claim: "no token, no text of a message and nothing of a linking code is in the log; numbers are only in the fields for ids", shown: "everything that the worker said, its status and its counters, and the log of the real bridge, searched", person: "", skip: Skip::AtLive },
];

/// Whether a run of this level is passed: nothing failed, and what was skipped may be. `verdicts` stand in the order of
/// [`CHECKS`]; one that is missing was not looked at. A person has signed what a person has seen.
pub fn passes(level: Level, verdicts: &[Option<Verdict>], signed: bool) -> bool {
    let is_good = |(check, verdict): (&Check, Option<&Option<Verdict>>)| match verdict.copied().flatten() {
        Some(Verdict::Pass) => true,
        Some(Verdict::Fail) => false,
        Some(Verdict::Skip) | None => check.skip.allowed(level),
    };
    let mut found = CHECKS.iter().enumerate().map(|(at, check)| (check, verdicts.get(at)));
    found.all(is_good) && (signed || level != Level::Live)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_but(at: usize, verdict: Option<Verdict>) -> Vec<Option<Verdict>> {
        let mut verdicts = vec![Some(Verdict::Pass); CHECKS.len()];
        verdicts[at] = verdict;
        verdicts
    }

    #[test]
    fn ids_are_numbers_in_order() {
        for (at, check) in CHECKS.iter().enumerate() {
            assert_eq!(check.id, format!("WA-{:02}", at + 1));
        }
    }

    #[test]
    fn sim_passes_only_with_all_of_them() {
        assert!(passes(Level::Sim, &all_but(0, Some(Verdict::Pass)), false));
        for at in 0..CHECKS.len() {
            for verdict in [Some(Verdict::Fail), Some(Verdict::Skip), None] {
                assert!(!passes(Level::Sim, &all_but(at, verdict), false), "{at} {verdict:?}");
            }
        }
    }

    #[test]
    fn bridge_leaves_two_to_live_and_no_failure() {
        for at in 0..CHECKS.len() {
            let may_skip = [15, 16].contains(&at);
            assert_eq!(passes(Level::Bridge, &all_but(at, Some(Verdict::Skip)), false), may_skip, "{at}");
            assert!(!passes(Level::Bridge, &all_but(at, Some(Verdict::Fail)), false), "{at}");
        }
    }

    #[test]
    fn live_needs_a_signature_and_what_bridge_left() {
        assert!(passes(Level::Live, &all_but(0, Some(Verdict::Pass)), true));
        assert!(!passes(Level::Live, &all_but(0, Some(Verdict::Pass)), false));
        for at in [0, 1, 15, 16] {
            assert!(!passes(Level::Live, &all_but(at, Some(Verdict::Skip)), true), "{at}");
        }
        assert!(passes(Level::Live, &all_but(14, Some(Verdict::Skip)), true));
        assert!(!passes(Level::Live, &[], true));
    }
}
