//! Who was refused lately: each is told to the operator once in a while, however often they write.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::clock::Mono;

/// One sender is told once in this time.
const EVERY: Duration = Duration::from_secs(3600);

/// Senders that are remembered; the oldest is forgotten, and told again.
const REMEMBERED_MAX: usize = 1024;

/// The senders that were told.
#[derive(Clone, Debug, Default)]
pub struct Denied(VecDeque<(String, Mono)>);

impl Denied {
    /// Whether the operator is to hear of this sender now.
    pub fn is_news(&mut self, sender: &str, now: Mono) -> bool {
        while self.0.front().is_some_and(|(_, at)| at.after(EVERY) <= now) {
            self.0.pop_front();
        }
        if self.0.iter().any(|(known, _)| known == sender) {
            return false;
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((sender.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_news_once_an_hour_and_the_memory_is_bounded() {
        let mut denied = Denied::default();
        assert!(denied.is_news("a", Mono(0)) && !denied.is_news("a", Mono(3_599_999)) && denied.is_news("b", Mono(5)));
        assert!(denied.is_news("a", Mono(3_600_000)));
        (0..REMEMBERED_MAX).for_each(|number| assert!(denied.is_news(&number.to_string(), Mono(3_600_001))));
        assert!(denied.0.len() == REMEMBERED_MAX && denied.is_news("a", Mono(3_600_002)));
    }
}
