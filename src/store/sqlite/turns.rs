//! A lock that is granted in the order in which it is asked for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// With a rollback journal no connection reads while a commit is under way, nor commits while
/// another one reads. SQLite's waiters poll, so a writer that commits again at once would keep its
/// own process's reader out for seconds. They take turns instead: one batch of the other kind
/// passes a waiting one at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tickets: Mutex<Tickets>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Tickets {
    /// The ticket that the next to ask gets.
    next: u64,
    /// The ticket whose turn it is, or will be once it is asked for.
    current: u64,
}

/// The right to read or to commit, until it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    pub fn wait(&self) -> Turn {
        let mut tickets = self.lock();
        let ticket = tickets.next;
        tickets.next += 1;
        while tickets.current != ticket {
            tickets = self.0.ended.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self.clone())
    }

    /// How many have asked and not ended.
    #[cfg(test)]
    pub fn asked(&self) -> u64 {
        let tickets = self.lock();
        tickets.next - tickets.current
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // Nothing panics while it holds the lock.
        self.0.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().current += 1;
        self.0.0.ended.notify_all();
    }
}
