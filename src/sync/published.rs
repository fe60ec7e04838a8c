//! Values that change seldom and whole, as settings do: published with a generation, read without waiting.
//!
//! Each value is a link of a chain. The writer hangs the next one behind the newest, with the first generation that it
//! belongs to, before it publishes that generation. A reader stands at one link and goes on as far as the generation it
//! is about to read: so it borrows the value that belongs to its generation, neither older nor newer.
//!
//! *Nobody waits.* To ask whether there is a next link is one load; to go on is two changes of a reference count.
//!
//! *No worker frees.* The writer keeps a link until the grace period of the one behind it is over ([`Published::settle`]).
//! A reader goes on *before* it says which generation it reads, so when that period is over, no reader that is online
//! stands at the old link. Only one that comes online after a sleep may be the last at a link.
//!
//! A value per parity, as the VMs have it, was the other design. It would need a lock that is never contended, or
//! `unsafe`; the chain needs neither, and a reader that slept through many changes still finds its way.

use std::sync::Arc;

use super::Once;
use super::quiescent::Generation;

struct Link<T> {
    /// The first generation that it belongs to.
    from: Generation,
    value: T,
    next: Once<Arc<Link<T>>>,
}

impl<T> Drop for Link<T> {
    /// Link by link: left to itself, a long chain would be dropped by recursion.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.next.take();
        }
    }
}

/// The writer's end of the chain. There is one.
pub struct Published<T> {
    newest: Arc<Link<T>>,
    /// Links that a worker may still stand at.
    superseded: Vec<Arc<Link<T>>>,
}

impl<T> Published<T> {
    /// The first value, which belongs to every generation until another is published.
    pub fn new(value: T) -> Self {
        let from = Generation::default();
        Self { newest: Arc::new(Link { from, value, next: Once::new() }), superseded: Vec::new() }
    }

    /// The value that was published last.
    #[must_use]
    pub fn newest(&self) -> &T {
        &self.newest.value
    }

    /// A reader, at the newest value.
    #[must_use]
    pub fn subscribe(&self) -> Subscriber<T> {
        Subscriber { link: self.newest.clone() }
    }

    /// Makes `value` what readers of `from` and later generations have. Call it before `from` is published.
    pub fn publish(&mut self, from: Generation, value: T) {
        let next = Arc::new(Link { from, value, next: Once::new() });
        self.newest.next.set(next.clone());
        self.superseded.push(std::mem::replace(&mut self.newest, next));
    }

    /// Forgets the older values.
    ///
    /// # States
    /// The grace period of every generation that [`publish`](Self::publish) was called with is over.
    pub fn settle(&mut self) {
        self.superseded.clear();
    }
}

/// A reader's end: one for each worker, moved to its thread, never shared.
pub struct Subscriber<T> {
    link: Arc<Link<T>>,
}

impl<T> Subscriber<T> {
    /// Goes on to what belongs to `generation`, which must not be older than the one before.
    #[inline]
    pub fn advance(&mut self, generation: Generation) {
        if self.link.next.is_set() {
            self.go_on(generation);
        }
    }

    #[cold]
    fn go_on(&mut self, generation: Generation) {
        while let Some(next) = self.link.next.get().filter(|next| next.from <= generation) {
            self.link = next;
        }
    }

    /// The value of the generation that was last advanced to.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &T {
        &self.link.value
    }
}

impl<T> std::fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("from", &self.newest.from).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("from", &self.link.from).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_the_value_of_its_generation() {
        let mut published = Published::new(0);
        let mut reader = published.subscribe();
        published.publish(Generation(3), 3);
        published.publish(Generation(5), 5);
        for (generation, value) in [(0, 0), (2, 0), (3, 3), (4, 3), (5, 5), (9, 5)] {
            reader.advance(Generation(generation));
            assert_eq!(*reader.value(), value, "generation {generation}");
        }
        assert_eq!((*published.newest(), *published.subscribe().value()), (5, 5));
    }

    #[test]
    fn who_slept_through_many_changes_finds_the_newest() {
        let mut published = Published::new(0u64);
        let mut sleeper = published.subscribe();
        for generation in 1..=200_000 {
            published.publish(Generation(generation), generation);
            published.settle();
        }
        sleeper.advance(Generation(200_000));
        assert_eq!(*sleeper.value(), 200_000);
    }

    #[test]
    fn a_long_chain_is_dropped_without_recursion() {
        let mut published = Published::new(0u64);
        let sleeper = published.subscribe();
        for generation in 1..=200_000 {
            published.publish(Generation(generation), generation);
        }
        drop(published);
        drop(sleeper);
    }

    #[test]
    fn a_superseded_value_lives_until_it_is_settled() {
        let value = Arc::new(());
        let mut published = Published::new(value.clone());
        let mut reader = published.subscribe();
        published.publish(Generation(1), Arc::new(()));
        reader.advance(Generation(1));
        assert_eq!(Arc::strong_count(&value), 2, "the writer keeps it, so that no reader frees it");
        published.settle();
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod check_loom {
    use super::super::quiescent::Grace;
    use super::super::thread;
    use super::*;

    /// A value that only the thread that made it may free.
    struct Value {
        number: u64,
        made_by: thread::ThreadId,
    }

    impl Value {
        fn new(number: u64) -> Self {
            Self { number, made_by: thread::current().id() }
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.made_by, "a worker freed {}", self.number);
        }
    }

    /// In every interleaving a worker has the value of the generation it reads, and frees none.
    #[test]
    fn loom_a_value_belongs_to_its_generation_and_no_worker_frees_it() {
        loom::model(|| {
            let (grace, mut passes) = Grace::new(1);
            let mut pass = passes.remove(0);
            let mut published = Published::new(Value::new(0));
            let mut reader = published.subscribe();
            pass.go_online();
            let worker = thread::spawn(move || {
                for _ in 0..2 {
                    let generation = pass.turn_with(|generation| reader.advance(generation));
                    assert_eq!(reader.value().number, generation.0);
                }
                pass.go_offline();
                reader
            });
            published.publish(Generation(1), Value::new(1));
            grace.publish(Generation(1));
            while !grace.is_over(Generation(1)) {
                thread::yield_now();
            }
            let reader = worker.join().unwrap();
            published.settle();
            drop(reader);
        });
    }
}
