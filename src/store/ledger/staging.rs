//! What the writer is asked, as records: each message, answer, refusal and step of a delivery becomes what the journal keeps
//! of it, and what is to be said at once or after the flush.

use crate::base::clock::Wall;
use crate::base::message::{Delivery, EXPIRED, Inbound, Job, Outcome, Reply};
use crate::observe::event::Event;
use crate::store::exchange::{Append, Effect, Notice, Readmission};
use crate::store::journal::Open;
use crate::store::ledger::Ledger;
use crate::store::record::{Answer, Attempts, Confirmed, OpenRecord, Readmitted, Received, Record, Sending, Unsent};
use crate::store::spool::SENT_BY_COMMAND;

impl Ledger {
    pub(super) fn stage_append(
        &mut self,
        append: Append,
        now: Wall,
        records: &mut Vec<Record>,
        effects: &mut Vec<Effect>,
    ) {
        match append {
            Append::Accept(inbound) | Append::Refuse { inbound, .. } if self.journal.has_seen(&inbound.key) => {
                // The first copy may have come in this very batch, so this too is only said after the flush.
                self.sync_wanted = true;
                self.after_sync.push(Effect::Notice(Notice::Duplicate(inbound)));
            }
            Append::Accept(inbound) => {
                self.stage(Record::Rx(Received::new(&inbound)), records);
                self.sync_wanted = true;
                let accepted = Effect::Notice(Notice::Accepted(Job { inbound, interrupted: 0, carried_over: false }));
                if cfg!(rp_break = "no_f1") { effects.push(accepted) } else { self.after_sync.push(accepted) }
            }
            Append::Refuse { inbound, reply, told } => self.stage_refusal(inbound, *reply, told, now, records),
            Append::Begin { turn, lane } => {
                let n = self.journal.get(turn).map_or(1, |open| open.tries + 1);
                self.stage(Record::Try(Attempts { id: turn, n }), records);
                // From the second attempt on the count decides about giving up, so it must survive a power cut.
                self.sync_wanted |= n > 1;
                let waiting = if n > 1 { &mut self.after_sync } else { &mut *effects };
                waiting.push(Effect::Answer(lane));
            }
            Append::Abandon { turn } => {
                let n = self.journal.get(turn).map_or(0, |open| open.tries.saturating_sub(1));
                self.stage(Record::Try(Attempts { id: turn, n }), records);
            }
            Append::Reply(reply) => self.stage_reply(*reply, now, records, effects),
            Append::Readmit(readmission) => self.stage_readmission(*readmission, records),
        }
    }

    fn stage_reply(&mut self, reply: Reply, now: Wall, records: &mut Vec<Record>, effects: &mut Vec<Effect>) {
        let turn = reply.turn;
        self.replied.push(turn);
        let answer = self.answer(reply, now);
        self.stage(Record::Rep(answer), records);
        self.sync_wanted = true;
        if self.journal.get(turn).is_some_and(Open::is_stopped) {
            // Whoever stopped it hears so in another reply.
            self.close(turn, Outcome::Refused, now, records);
        }
        let early = self.journal.get(turn).filter(|_| cfg!(rp_break = "no_f2"));
        effects.extend(early.and_then(|open| open.outbound(&self.boot)).map(Effect::Outbound));
        if self.is_expired(turn) && !self.is_first_expired_of_chat(turn) {
            effects.extend(self.finish(turn, Outcome::Refused, EXPIRED, now, records));
        }
    }

    /// The wish may come twice, if a process ended before its file was removed.
    fn stage_readmission(&mut self, readmission: Readmission, records: &mut Vec<Record>) {
        let Readmission { file, inbound, answered } = readmission;
        let turn = inbound.turn;
        if self.is_held(turn) {
            // Its credit was never given back, so none was taken for the wish, which comes again.
            return;
        }
        self.sync_wanted = true;
        if !self.spool.has(&file) {
            // A person dropped it meanwhile. It gives its credit back as a copy does.
            self.after_sync.push(Effect::Notice(Notice::Duplicate(inbound)));
            return;
        }
        self.spool.take(file.clone());
        if self.journal.get(turn).is_some() {
            return;
        }
        let is_copy = self.journal.has_seen(&file);
        let effect = match answered {
            None if is_copy => Effect::Notice(Notice::Duplicate(inbound)),
            Some(_) if is_copy => Effect::Notice(Notice::Delivered(turn)),
            None => {
                self.stage(Record::Rx(Received::new(&inbound)), records);
                Effect::Notice(Notice::Accepted(Job { inbound, interrupted: 0, carried_over: false }))
            }
            Some(open) => {
                let mut open = OpenRecord { owed: false, k: 0, fin: None, ..*open };
                if open.rx.key.starts_with(SENT_BY_COMMAND) && open.snd == 0 {
                    // Nobody has begun to send it, whatever was booted since it was written.
                    open.rep.iter_mut().for_each(|answer| answer.boot.clone_from(&self.boot));
                }
                self.stage(Record::Opn(Box::new(Readmitted { key: file, open })), records);
                let outbound = self.journal.get(turn).and_then(|open| open.outbound(&self.boot));
                outbound.map_or(Effect::Notice(Notice::Delivered(turn)), Effect::Outbound)
            }
        };
        self.after_sync.push(effect);
    }

    fn stage_refusal(&mut self, inbound: Inbound, reply: Reply, told: bool, now: Wall, records: &mut Vec<Record>) {
        let turn = inbound.turn;
        self.stage(Record::Rx(Received::new(&inbound)), records);
        let answer = self.answer(reply, now);
        self.stage(Record::Rep(answer), records);
        self.sync_wanted = true;
        self.replied.push(turn);
        self.after_sync.push(Effect::Notice(Notice::Refused(inbound)));
        if !told {
            self.close(turn, Outcome::Refused, now, records);
        }
    }

    fn answer(&mut self, reply: Reply, now: Wall) -> Answer {
        let received = self.journal.get(reply.turn).map(|open| &open.received);
        // It only saves reading; but who looks after the disk should hear of it.
        let last = received.map_or(Ok(None), |received| self.lines.last_ordinal(received));
        let n = last.unwrap_or_else(|error| {
            let what = "the end of a session".to_owned();
            self.after_sync.push(Effect::Event(Event::StorageError { what, error: error.to_string() }));
            None
        });
        let received = received.map(|received| received.text.as_str());
        Answer {
            id: reply.turn,
            boot: self.boot.clone(),
            user: (received != Some(reply.user_text.as_str())).then_some(reply.user_text),
            parts: if reply.parts.len() == 1 && reply.parts[0] == reply.text { Vec::new() } else { reply.parts },
            asst: reply.text,
            sum: reply.summary,
            ts: now.0,
            n,
        }
    }

    pub(super) fn stage_delivery(
        &mut self,
        delivery: Delivery,
        now: Wall,
        records: &mut Vec<Record>,
        effects: &mut Vec<Effect>,
    ) {
        match delivery {
            Delivery::Sending { turn, part, resends, lane } => {
                self.stage(Record::Snd(Sending { id: turn, i: part, k: resends }), records);
                effects.push(Effect::Answer(lane));
            }
            Delivery::Unsent { turn, part, ambiguous: true, resends } => {
                self.stage(Record::Snd(Sending { id: turn, i: part, k: resends }), records);
            }
            Delivery::Unsent { turn, part, .. } => self.stage(Record::Uns(Unsent { id: turn, i: part }), records),
            Delivery::Sent { turn, part, message_id } => {
                self.stage(Record::Ack(Confirmed { id: turn, i: part, mid: message_id }), records);
            }
            Delivery::Close { turn, outcome, why } => effects.extend(self.finish(turn, outcome, &why, now, records)),
        }
    }
}
