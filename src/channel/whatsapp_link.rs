//! [`Link`]: the connection to a WhatsApp bridge as a state machine. It is told what happened and says what to do: dial,
//! wait, ping, hang up. It chooses the dialect, knows whether anything may be sent, and how long a trouble keeps us away.
//! Nothing is done because a chat is quiet: only pings that nobody answers show that a link is dead.

use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::channel::whatsapp_frame::{Dialect, Frame, Status, dialect_of};
use crate::channel::whatsapp_limits::LinkLimits;
use crate::channel::whatsapp_trouble::{Lost, Parked};
use crate::net::backoff;

/// What only a person can mend is looked at again after this, and then ever more rarely.
const PARKED_RECHECK_FIRST: Duration = Duration::from_secs(15 * 60);
const PARKED_RECHECK_MAX: Duration = Duration::from_secs(6 * 3600);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connect.
    Dial,
    /// Nothing before this time.
    Wait {
        /// When.
        until: Mono,
    },
    /// The link stands: read and send until this time.
    Serve {
        /// When there is something else to do.
        until: Mono,
    },
    /// Send a ping.
    Ping,
    /// End the link.
    HangUp(Lost),
}

/// What a frame or a connection changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The dialect is known.
    Dialect(Dialect),
    /// The bridge offers v2 and is to be answered.
    Extension,
    /// The bridge's link to WhatsApp works, or works again.
    Online,
    /// It does not.
    Offline,
    /// A person has to act.
    Parked(Parked),
}

#[derive(Clone, Copy, Debug)]
struct Up {
    since: Mono,
    heard: Mono,
    is_heard: bool,
    ping_due: Mono,
    online: Option<bool>,
    v2: bool,
    /// It has said more than hello, or will not. Before that nobody knows whether it has ids, or is online.
    introduced: bool,
}

/// Where the link stands.
#[derive(Clone, Debug)]
pub struct Link {
    limits: LinkLimits,
    base: Duration,
    /// What is configured, or follows from a token.
    fixed: Option<Dialect>,
    has_token: bool,
    dialect: Option<Dialect>,
    up: Option<Up>,
    failures: u32,
    denials: u32,
    not_before: Mono,
    parked: Option<Parked>,
    rng: Rng,
}

impl Link {
    /// Not connected. `base` is the largest first delay after a failure; `dialect` is what the operator chose.
    pub fn new(limits: LinkLimits, base: Duration, dialect: Option<Dialect>, has_token: bool, rng: Rng) -> Link {
        let fixed = dialect.or(has_token.then_some(Dialect::N));
        Link {
            limits,
            base,
            fixed,
            has_token,
            dialect: fixed,
            up: None,
            failures: 0,
            denials: 0,
            not_before: Mono(0),
            parked: None,
            rng,
        }
    }

    /// What to do at `now`.
    pub fn step(&self, now: Mono) -> Step {
        let Some(up) = &self.up else {
            return if now < self.not_before { Step::Wait { until: self.not_before } } else { Step::Dial };
        };
        let dead = up.heard.after(self.limits.silence);
        if now >= dead {
            Step::HangUp(Lost::Silent)
        } else if now >= up.ping_due {
            Step::Ping
        } else {
            Step::Serve { until: up.ping_due.min(dead) }
        }
    }

    /// The dialect, once it is known on this link.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Whether ids are agreed upon.
    pub fn has_ids(&self) -> bool {
        self.up.is_some_and(|up| up.v2)
    }

    /// Whether the token has to be the first frame.
    pub fn starts_with_token(&self) -> bool {
        self.has_token && self.fixed == Some(Dialect::N)
    }

    /// Why a person has to act.
    pub fn parked(&self) -> Option<Parked> {
        self.parked
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it stands, and the bridge has not said that its own link is down: one that never says is taken to be online.
    pub fn is_online(&self) -> bool {
        self.up.is_some_and(|up| up.online != Some(false))
    }

    /// Where a message can go now. Never before the dialect is known: a bridge of the other dialect would confirm the
    /// frame and drop it. Nor before the bridge has introduced itself: without its id a message may be sent twice.
    pub fn sends(&self) -> Option<Dialect> {
        let is_introduced = self.up.is_some_and(|up| up.introduced);
        let nobody_has_to_act = self.parked.is_none();
        self.dialect.filter(|_| is_introduced && self.is_online() && nobody_has_to_act)
    }

    /// We listened, and nothing was said. Many bridges say nothing when they let us in, so staying shows it, too. Time in which we
    /// did not listen shows nothing: what is said stands at the beginning of what is still to be read.
    pub fn on_quiet(&mut self, now: Mono) -> Option<News> {
        let up = self.up.as_mut()?;
        up.introduced |= up.since.after(self.limits.introduction) <= now;
        let is_in = up.is_heard && up.since.after(self.limits.admission) <= now;
        if is_in { self.let_in() } else { None }
    }

    /// What parked us before a link stood is over.
    fn let_in(&mut self) -> Option<News> {
        self.parked.take_if(|parked| !parked.ends_by_status()).map(|_| News::Online)
    }

    /// The link stands.
    pub fn on_up(&mut self, now: Mono) {
        self.dialect = self.fixed;
        let (online, is_heard, v2, introduced) = (None, false, false, false);
        self.up = Some(Up { since: now, heard: now, is_heard, ping_due: now, online, v2, introduced });
        // Whether a link that was refused before is heard is to be known soon.
        if self.parked.is_none() {
            self.on_ping(now);
        }
    }

    /// A ping was sent.
    pub fn on_ping(&mut self, now: Mono) {
        let jitter = self.rng.jitter(self.limits.ping_jitter * 2);
        if let Some(up) = &mut self.up {
            up.ping_due = now.after((self.limits.ping_every + jitter).saturating_sub(self.limits.ping_jitter));
        }
    }

    /// Something was heard, or we did not listen until now.
    pub fn on_heard(&mut self, now: Mono) {
        let Some(up) = &mut self.up else { return };
        (up.heard, up.is_heard) = (now, true);
        if self.failures > 0 && up.since.after(self.limits.stable) <= now {
            (self.failures, self.denials) = (0, 0);
        }
    }

    /// A frame came; what it changes.
    pub fn on_frame(&mut self, frame: &Frame) -> Vec<News> {
        let mut news = Vec::new();
        let Some(up) = &mut self.up else { return news };
        // After its hello a bridge says whether it is online.
        up.introduced |= !matches!(frame, Frame::Hello { .. });
        up.v2 |= matches!(frame, Frame::Hello { version: 2.. });
        if self.dialect.is_none() {
            self.dialect = dialect_of(frame);
            news.extend(self.dialect.map(News::Dialect));
        }
        // A bridge without v2 keeps nothing: its message has just come from WhatsApp, whatever it said, or did not say, of its link.
        let is_shut = !up.v2 && (up.online == Some(false) || self.parked.is_some());
        // Whoever says something else than goodbye has let us in.
        news.extend(self.let_in());
        match frame {
            Frame::Message(incoming) if is_shut && Some(incoming.dialect) == self.dialect => {
                news.extend(self.on_status(Status::Connected));
            }
            Frame::Hello { version: 2.. } => news.push(News::Extension),
            Frame::Status(Some(status)) => news.extend(self.on_status(*status)),
            Frame::Qr => news.extend(self.on_parked_status(Parked::NotLinked)),
            _ => {}
        }
        news
    }

    fn on_status(&mut self, status: Status) -> Option<News> {
        match status {
            Status::Connected => {
                let was = self.up.as_mut().map(|up| up.online.replace(true));
                let parked = self.parked.take();
                (parked.is_some() || was != Some(Some(true))).then_some(News::Online)
            }
            // It is repeated while it lasts, and a cause that is known stays.
            Status::Disconnected => {
                let was = self.up.as_mut().map(|up| up.online.replace(false));
                (was != Some(Some(false)) && self.parked.is_none()).then_some(News::Offline)
            }
            Status::LoggedOut => self.on_parked_status(Parked::LoggedOut),
            Status::Replaced => self.on_parked_status(Parked::Replaced),
        }
    }

    fn on_parked_status(&mut self, parked: Parked) -> Option<News> {
        if let Some(up) = &mut self.up {
            up.online = Some(false);
        }
        // A code to scan is what follows a logout: both ask for the same.
        let is_known =
            self.parked == Some(parked) || parked == Parked::NotLinked && self.parked == Some(Parked::LoggedOut);
        (!is_known).then(|| {
            self.parked = Some(parked);
            News::Parked(parked)
        })
    }

    /// The link ended, or did not begin; how long nothing is tried now.
    pub fn on_lost(&mut self, lost: Lost, now: Mono) -> Duration {
        self.up = None;
        self.failures = self.failures.saturating_add(1);
        let parked = lost.parks(self.starts_with_token());
        let delay = match parked {
            Some(parked) => {
                self.parked = Some(parked);
                self.denials = self.denials.saturating_add(1);
                backoff::ceiling(PARKED_RECHECK_FIRST, PARKED_RECHECK_MAX, self.denials)
            }
            None => backoff::full(self.base, self.limits.backoff_max, self.failures, &mut self.rng),
        };
        self.not_before = now.after(delay);
        delay
    }

    /// Somebody may have mended what parks us: look again now.
    pub fn on_reload(&mut self) {
        self.not_before = Mono(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::whatsapp_limits::LIMITS;

    const SECOND: u64 = 1000;

    fn link(dialect: Option<Dialect>, has_token: bool) -> Link {
        Link::new(LIMITS, Duration::from_millis(500), dialect, has_token, Rng::from_seed(3))
    }

    fn up(dialect: Option<Dialect>, has_token: bool) -> Link {
        let mut link = link(dialect, has_token);
        link.on_up(Mono(0));
        link
    }

    /// Of a bridge that says nothing of itself.
    fn silent(dialect: Option<Dialect>, has_token: bool) -> Link {
        let mut link = up(dialect, has_token);
        link.on_quiet(Mono(2 * SECOND));
        link
    }

    #[test]
    fn nothing_is_sent_before_the_bridge_has_said_how_it_is_or_had_the_time_to() {
        let mut link = up(None, true);
        link.on_quiet(Mono(2 * SECOND - 1));
        assert_eq!(link.sends(), None);
        link.on_quiet(Mono(2 * SECOND));
        assert_eq!(link.sends(), Some(Dialect::N));
        let mut link = up(None, true);
        link.on_frame(&Frame::Hello { version: 2 });
        assert_eq!((link.has_ids(), link.sends()), (true, None), "its status comes next");
        link.on_frame(&Frame::Status(Some(Status::Disconnected)));
        assert_eq!(link.sends(), None);
        link.on_frame(&Frame::Status(Some(Status::Connected)));
        assert_eq!(link.sends(), Some(Dialect::N));
        link.on_lost(Lost::Broken, Mono(3 * SECOND));
        link.on_up(Mono(4 * SECOND));
        assert_eq!(link.sends(), None, "another link, another introduction");
    }

    #[test]
    fn the_dialect_is_chosen_by_setting_token_or_first_frame_and_nothing_is_sent_before() {
        assert_eq!(silent(Some(Dialect::P), true).sends(), Some(Dialect::P));
        assert!(!up(Some(Dialect::P), true).starts_with_token());
        assert_eq!(silent(None, true).sends(), Some(Dialect::N));
        assert!(up(None, true).starts_with_token());
        let mut link = up(None, false);
        assert_eq!(link.sends(), None);
        assert_eq!(link.on_frame(&Frame::Unknown), []);
        assert_eq!(link.on_frame(&Frame::Hello { version: 2 }), [News::Extension]);
        assert_eq!((link.sends(), link.has_ids()), (None, true));
        let connected = Frame::Status(Some(Status::Connected));
        assert_eq!(link.on_frame(&connected), [News::Dialect(Dialect::N), News::Online]);
        assert_eq!(link.sends(), Some(Dialect::N));
        assert_eq!(link.on_frame(&connected), []);
        // What was found out is of this link only: another bridge may be there next time.
        link.on_lost(Lost::Broken, Mono(1));
        link.on_up(Mono(2));
        assert_eq!((link.sends(), link.has_ids()), (None, false));
    }

    #[test]
    fn pings_are_spread_and_silence_ends_a_link_within_a_minute() {
        for seed in 0..200 {
            let mut link = Link::new(LIMITS, Duration::from_secs(2), None, false, Rng::from_seed(seed));
            link.on_up(Mono(0));
            let (mut now, mut pings) = (Mono(0), Vec::new());
            let end = loop {
                match link.step(now) {
                    Step::Serve { until } => now = until,
                    Step::Ping => {
                        pings.push(now.0);
                        link.on_ping(now);
                    }
                    Step::HangUp(lost) => break (lost, now),
                    step => panic!("{step:?}"),
                }
            };
            assert_eq!(end, (Lost::Silent, Mono(60 * SECOND)));
            assert!((20 * SECOND..=30 * SECOND).contains(&pings[0]) && pings.len() >= 2, "seed {seed}: {pings:?}");
        }
        let mut link = up(None, false);
        link.on_heard(Mono(59 * SECOND));
        link.on_ping(Mono(59 * SECOND));
        assert!(matches!(link.step(Mono(100 * SECOND)), Step::Ping));
        assert_eq!(link.step(Mono(119 * SECOND)), Step::HangUp(Lost::Silent));
    }

    #[test]
    fn delays_have_full_jitter_below_a_ceiling_and_no_end() {
        let mut link = link(None, false);
        let mut largest = Duration::ZERO;
        for failures in 1..5000_u32 {
            let delay = link.on_lost(Lost::Unreachable, Mono(0));
            let ceiling =
                Duration::from_millis(500).saturating_mul(1 << (failures - 1).min(20)).min(LIMITS.backoff_max);
            assert!(delay <= ceiling, "{failures}: {delay:?}");
            largest = largest.max(delay);
        }
        assert!(largest > Duration::from_secs(59) && link.parked().is_none());
        assert!(matches!(link.step(Mono(60 * SECOND)), Step::Dial));
    }

    #[test]
    fn only_a_link_that_lived_a_minute_makes_up_for_failures() {
        let mut link = link(None, false);
        (0..3).for_each(|_| assert!(link.on_lost(Lost::Broken, Mono(0)) <= LIMITS.backoff_max));
        link.on_up(Mono(0));
        link.on_heard(Mono(59 * SECOND));
        assert_eq!(link.failures(), 3);
        link.on_heard(Mono(60 * SECOND));
        assert_eq!(link.failures(), 0);
    }

    #[test]
    fn a_bridge_that_wants_another_token_parks_with_a_sentence() {
        for (has_token, code, parked) in
            [(false, 4001, Parked::NoToken), (false, 4003, Parked::NoToken), (true, 4003, Parked::BadToken)]
        {
            let mut link = up(None, has_token);
            assert_eq!(link.on_lost(Lost::Closed { code }, Mono(0)), Duration::from_secs(900));
            assert_eq!(link.parked(), Some(parked));
            assert!(parked.remedy().contains("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN"));
            assert!(matches!(link.step(Mono(899 * SECOND)), Step::Wait { .. }));
            link.on_reload();
            assert_eq!(link.step(Mono(1)), Step::Dial);
            link.on_up(Mono(1));
            assert_eq!(link.sends(), None, "it has not let us in yet");
            assert_eq!(link.on_lost(Lost::Closed { code }, Mono(1)), Duration::from_secs(1800));
            link.on_up(Mono(2));
            assert!(link.on_frame(&Frame::Status(Some(Status::Connected))).contains(&News::Online));
            assert_eq!(link.parked(), None);
        }
        // A token that came too late is the network's fault.
        let mut link = up(None, true);
        assert!(link.on_lost(Lost::Closed { code: 4001 }, Mono(0)) <= Duration::from_millis(500));
        assert_eq!(link.parked(), None);
    }

    #[test]
    fn a_bridge_that_says_nothing_has_let_us_in_when_it_is_heard_and_does_not_close() {
        for lost in [Lost::Closed { code: 4003 }, Lost::Closed { code: 4009 }, Lost::Refused { status: 403 }] {
            for (dialect, has_token) in [(Dialect::N, true), (Dialect::P, false)] {
                let mut link = up(Some(dialect), has_token);
                link.on_lost(lost, Mono(0));
                let parked = link.parked().expect("a person has to act");
                assert!(has_token || !parked.remedy().contains("rejects"), "{lost:?}: there is no token to reject");
                link.on_up(Mono(SECOND));
                assert_eq!(link.step(Mono(SECOND)), Step::Ping, "whether it is heard is to be known soon");
                link.on_ping(Mono(SECOND));
                assert_eq!(link.on_quiet(Mono(20 * SECOND)), None, "not heard");
                link.on_heard(Mono(2 * SECOND));
                assert_eq!((link.on_quiet(Mono(11 * SECOND - 1)), link.sends()), (None, None));
                assert_eq!(link.on_quiet(Mono(11 * SECOND)), Some(News::Online));
                assert_eq!((link.on_quiet(Mono(12 * SECOND)), link.parked()), (None, None));
                assert_eq!(link.sends(), Some(dialect));
            }
        }
    }

    #[test]
    fn a_phone_that_is_gone_parks_and_its_return_ends_that() {
        let status = |status| Frame::Status(Some(status));
        for (frame, parked) in [
            (status(Status::LoggedOut), Parked::LoggedOut),
            (status(Status::Replaced), Parked::Replaced),
            (Frame::Qr, Parked::NotLinked),
        ] {
            let mut link = up(Some(Dialect::N), false);
            assert_eq!(link.on_frame(&frame), [News::Parked(parked)]);
            assert_eq!(link.on_frame(&frame), [], "said once");
            assert_eq!((link.sends(), link.on_frame(&status(Status::Disconnected)).len()), (None, 0));
            // The bridge restarts, which changes nothing.
            assert!(link.on_lost(Lost::Closed { code: 1001 }, Mono(0)) <= Duration::from_millis(500));
            link.on_up(Mono(1));
            assert_eq!((link.sends(), link.parked()), (None, Some(parked)));
            assert_eq!(link.on_frame(&status(Status::Connected)), [News::Online]);
            assert_eq!((link.sends(), link.parked()), (Some(Dialect::N), None));
        }
    }

    #[test]
    fn a_message_shows_that_a_bridge_without_v2_is_linked_and_one_that_keeps_messages_shows_nothing() {
        let frame = |text: &str| crate::channel::whatsapp_frame::parse(text).expect("a frame");
        let shuts = [
            Frame::Qr,
            Frame::Status(Some(Status::Disconnected)),
            Frame::Status(Some(Status::LoggedOut)),
            Frame::Status(Some(Status::Replaced)),
        ];
        let of_p = frame(r#"{"type":"message","from":"1","content":"x"}"#);
        let of_n = frame(r#"{"type":"message","sender":"1@lid","content":"x"}"#);
        for shut in &shuts {
            for (dialect, message, other) in [(Dialect::P, &of_p, &of_n), (Dialect::N, &of_n, &of_p)] {
                let mut link = up(Some(dialect), false);
                link.on_frame(shut);
                assert_eq!((link.on_frame(other), link.sends()), (vec![], None), "{shut:?}: of another dialect");
                assert_eq!(link.on_frame(message), [News::Online], "{shut:?}");
                assert_eq!((link.sends(), link.parked(), link.on_frame(message)), (Some(dialect), None, vec![]));
                let mut link = up(Some(dialect), false);
                link.on_frame(&Frame::Hello { version: 2 });
                link.on_frame(shut);
                assert_eq!((link.on_frame(message), link.sends()), (vec![], None), "{shut:?}: it was kept");
            }
        }
    }

    #[test]
    fn nothing_is_sent_while_the_bridge_is_offline() {
        let mut link = up(Some(Dialect::N), false);
        assert_eq!(link.on_frame(&Frame::Status(Some(Status::Disconnected))), [News::Offline]);
        assert_eq!(link.sends(), None);
        assert_eq!(link.on_frame(&Frame::Status(Some(Status::Disconnected))), []);
        assert_eq!(link.on_frame(&Frame::Status(Some(Status::Connected))), [News::Online]);
        assert_eq!(link.sends(), Some(Dialect::N));
    }

    #[test]
    fn two_programs_at_one_bridge_do_not_throw_each_other_out_in_a_loop() {
        let mut link = up(None, true);
        assert!(link.on_lost(Lost::Closed { code: 4009 }, Mono(0)) >= Duration::from_secs(900));
        assert_eq!(link.parked(), Some(Parked::OtherClient));
    }
}
