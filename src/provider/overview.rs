//! What a [`Caller`] says of those it may ask, for a person who wants to know. Asks nobody.

use std::time::Duration;

use crate::provider::caller::Caller;
use crate::provider::chain::Link;
use crate::provider::standing::Rest;

impl Caller {
    /// Those who may be asked, in their order: name, model, and why they are left alone.
    pub fn providers(&mut self) -> Vec<(String, String, Option<Rest>)> {
        self.links.iter_mut().for_each(Link::look);
        if self.spending.is_some() {
            self.standing.refresh();
        }
        let rest = |link: &Link| if link.is_echo() { None } else { self.standing.rest(link.who(), Duration::ZERO) };
        self.links.iter().map(|link| (link.name.clone(), link.model.clone(), rest(link))).collect()
    }

    /// Tokens of today, and how many there may be (0: no limit). `None`: asking costs nothing.
    pub fn tokens(&self) -> Option<(u64, u64)> {
        self.spending.as_ref().map(|spending| spending.today())
    }
}
