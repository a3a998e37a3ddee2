//! What a WhatsApp bridge says, frame by frame: each goes to whom it concerns, and is acknowledged when nobody needs it
//! again.

use std::time::Duration;

use crate::channel::ends::WriterGone;
use crate::channel::whatsapp_frame::{self as frame, Dialect, Frame, Malformed};
use crate::channel::whatsapp_incoming::Passed;
use crate::channel::whatsapp_link::News;
use crate::channel::whatsapp_teller::CHANNEL;
use crate::channel::whatsapp_trouble::Lost;
use crate::channel::whatsapp_worker::Worker;
use crate::net::websocket::Heard;
use crate::observe::event::Event;

impl Worker {
    pub(super) fn hear(&mut self, heard: Heard) -> Result<(), WriterGone> {
        match heard {
            Heard::Text(text) => match frame::parse(&text) {
                Ok(frame) => self.on_frame(frame),
                Err(malformed) => {
                    self.reception.pass(Passed::Malformed);
                    self.teller.malformed(malformed.name());
                    // It will not become better: kept, so many of them would leave no place for others.
                    if let Malformed::BadMessage { id: Some(id) } = malformed {
                        self.acknowledge(&id);
                    }
                    Ok(())
                }
            },
            Heard::Binary => {
                self.reception.pass(Passed::Binary);
                Ok(())
            }
            Heard::Ping => Ok(()),
            Heard::Pong(payload) => {
                let number = payload.try_into().map(u64::from_be_bytes).unwrap_or(0);
                let now = self.clock.mono();
                self.outgoing.on_pong(number, now).map_or(Ok(()), |(turn, reports)| self.sender.record(turn, reports))
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), WriterGone> {
        let was_parked = self.link.parked().is_some();
        for news in self.link.on_frame(&frame) {
            self.on_news(news, was_parked);
        }
        let (now, has_ids) = (self.clock.mono(), self.link.has_ids());
        match frame {
            // What comes after the order to stop belongs to the next process; only a bridge of v2 has it then.
            Frame::Message(_) if self.reader.stop.requested() && has_ids => {}
            Frame::Message(_) if self.reader.stop.requested() => self.reception.pass(Passed::Stopping),
            Frame::Message(incoming) => {
                let done = self.reception.on_message(*incoming, self.link.dialect(), &mut self.teller);
                done.iter().for_each(|id| self.acknowledge(id));
                if has_ids && self.reception.handover().is_over() {
                    self.lose(Lost::Overflow);
                }
            }
            Frame::Sent { id } => match self.outgoing.on_sent(id, now) {
                Some((turn, reports)) => return self.sender.record(turn, reports),
                None => self.reception.pass(Passed::Unmatched),
            },
            Frame::Error { id, failure } => match self.outgoing.on_error(id, failure, now) {
                Some(((turn, reports), chat, action)) => {
                    self.teller.send_error(turn, chat, action);
                    return self.sender.record(turn, reports);
                }
                None => self.reception.pass(Passed::Unmatched),
            },
            Frame::Unknown | Frame::Status(None) => self.reception.pass(Passed::UnknownType),
            Frame::Status(Some(_)) | Frame::Qr | Frame::Hello { .. } => {}
        }
        Ok(())
    }

    pub(super) fn on_news(&mut self, news: News, was_parked: bool) {
        let state = match news {
            News::Dialect(Dialect::P) => "dialect_p",
            News::Dialect(Dialect::N) => "dialect_n",
            News::Offline => "offline",
            News::Extension => {
                self.line.put(frame::hello());
                "v2"
            }
            News::Online => {
                if was_parked {
                    self.teller.resumed();
                    self.reception.say_if_nobody_may_write(&mut self.teller);
                }
                "online"
            }
            News::Parked(parked) => return self.teller.parked(parked.name(), parked.remedy(), Duration::ZERO),
        };
        self.teller.emit(&Event::ChannelState { channel: CHANNEL, state });
    }

    pub(super) fn acknowledge(&mut self, id: &str) {
        if self.link.has_ids() {
            self.line.put(frame::ack(id));
        }
    }
}
