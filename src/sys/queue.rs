//! The bounded queues between threads: crossbeam's, with every item in a box. One type of item in all of them, so that the
//! program holds the machinery of a queue once and not once for each of fifteen types.
//!
//! [`push`] is for queues that point backwards and therefore must never make anyone wait.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use crossbeam_channel::{
    RecvError, RecvTimeoutError, Select, SendError, TryRecvError, TrySendError, never, select,
};

/// What the queues hold.
pub type Item = Box<dyn Any + Send>;

/// The end where items go in.
pub struct Sender<T>(crossbeam_channel::Sender<Item>, PhantomData<fn(T)>);

/// The end where they come out.
pub struct Receiver<T>(crossbeam_channel::Receiver<Item>, PhantomData<fn() -> T>);

/// A queue for `most` items.
pub fn bounded<T: Send + 'static>(most: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(most);
    (Sender(sender, PhantomData), Receiver(receiver, PhantomData))
}

fn open<T: 'static>(item: Item) -> T {
    *item.downcast().expect("a queue has items of one type")
}

impl<T: Send + 'static> Sender<T> {
    /// Puts an item in, and waits for room.
    ///
    /// # Errors
    /// Nobody can take it out any more.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.send(Box::new(item)).map_err(|error| SendError(open(error.0)))
    }

    /// Puts an item in if there is room.
    ///
    /// # Errors
    /// There is none, or nobody can take it out any more.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(Box::new(item)).map_err(|error| match error {
            TrySendError::Full(item) => TrySendError::Full(open(item)),
            TrySendError::Disconnected(item) => TrySendError::Disconnected(open(item)),
        })
    }
}

impl<T> Sender<T> {
    /// Items inside.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// For `select!`, which puts an [`Item`] in.
    pub fn raw(&self) -> &crossbeam_channel::Sender<Item> {
        &self.0
    }
}

impl<T: 'static> Receiver<T> {
    /// Waits for an item.
    ///
    /// # Errors
    /// The queue is empty, and nobody can put anything in any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv().map(open)
    }

    /// Takes an item out if there is one.
    ///
    /// # Errors
    /// There is none, or there will never be one.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv().map(open)
    }

    /// Waits for an item, but no longer than `most`.
    ///
    /// # Errors
    /// There was none, or there will never be one.
    pub fn recv_timeout(&self, most: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(most).map(open)
    }

    /// Every item, also those that are not in it yet.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().map(open)
    }

    /// Everything that is inside.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        self.0.try_iter().map(open)
    }

    /// What `select!` took out.
    ///
    /// # Errors
    /// As told by it.
    pub fn opened(&self, taken: Result<Item, RecvError>) -> Result<T, RecvError> {
        taken.map(open)
    }
}

impl<T> Receiver<T> {
    /// Items inside.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Items that there is room for.
    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }

    /// For `Select` and `select!`, which takes an [`Item`] out ([`Receiver::opened`]).
    pub fn raw(&self) -> &crossbeam_channel::Receiver<Item> {
        &self.0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender(self.0.clone(), PhantomData)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver(self.0.clone(), PhantomData)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// Puts an item into a queue that is long enough by construction. A receiver that has left does not want it any more.
///
/// # Panics
/// When the queue is full: its bound is wrong, which is a bug, and a restart recovers from it.
pub fn push<T: Send + 'static>(queue: &Sender<T>, item: T) {
    match queue.try_send(item) {
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => panic!("a queue that cannot be full is full ({} items)", queue.len()),
    }
}
