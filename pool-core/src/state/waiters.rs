//! The queue of those that wait: first come, first served.
//!
//! A doubly linked list through a slab, so that joining, being served and giving up are O(1) and
//! allocate nothing once the slab has grown. A node is *waiting* (in the list), then *granted* a place
//! or *failed* (out of the list), until its owner takes the outcome or gives up.
//!
//! Deadlines: most waiters share one timeout, so that their deadlines grow along the list and the first
//! of them is the nearest. Those are *regular*; a waiter with a nearer deadline than a regular one in
//! front of it is *odd*, and stands in an ordered set beside the list. The nearest deadline is thus
//! found in O(1), and one timer serves the whole queue.

use std::collections::BTreeSet;
use std::task::Waker;

use slab::Slab;

use crate::moment::Moment;
/// Names a waiter, from joining to the outcome.
pub(crate) type Key = usize;

const NIL: Key = Key::MAX;

pub(crate) struct Waiters<T, F> {
    nodes: Slab<Node<F>>,
    /// Places granted to waiters that have not taken them yet. Apart from the nodes, since a place may
    /// be large and most nodes have none.
    grants: Slab<T>,
    head: Key,
    tail: Key,
    waiting: usize,
    /// The first regular waiter in the list.
    first_regular: Key,
    /// The deadline of the last regular one.
    last_regular: Option<Moment>,
    odd: BTreeSet<(Moment, Key)>,
}

struct Node<F> {
    prev: Key,
    next: Key,
    deadline: Moment,
    odd: bool,
    state: NodeState<F>,
}

enum NodeState<F> {
    Waiting(Waker),
    Granted(usize),
    Failed(F),
}

impl<T, F> Default for Waiters<T, F> {
    fn default() -> Self {
        Self {
            nodes: Slab::new(),
            grants: Slab::new(),
            head: NIL,
            tail: NIL,
            waiting: 0,
            first_regular: NIL,
            last_regular: None,
            odd: BTreeSet::new(),
        }
    }
}

impl<T, F> Waiters<T, F> {
    /// How many wait, without those that have an outcome.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Joins at the end.
    pub(crate) fn join(&mut self, deadline: Moment, waker: Waker) -> Key {
        let odd = self.last_regular.is_some_and(|last| deadline < last);
        let node =
            Node { prev: self.tail, next: NIL, deadline, odd, state: NodeState::Waiting(waker) };
        let key = self.nodes.insert(node);
        match self.nodes.get_mut(self.tail) {
            Some(tail) => tail.next = key,
            None => self.head = key,
        }
        self.tail = key;
        self.waiting += 1;
        if odd {
            self.odd.insert((deadline, key));
        } else {
            self.last_regular = Some(deadline);
            if self.first_regular == NIL {
                self.first_regular = key;
            }
        }
        key
    }

    /// Gives a place to the one that has waited longest, who is to be woken.
    pub(crate) fn grant(&mut self, place: T) -> Result<Waker, T> {
        if self.head == NIL {
            return Err(place);
        }
        let grant = self.grants.insert(place);
        Ok(self.settle(self.head, NodeState::Granted(grant)))
    }

    /// Fails the one that has waited longest, who is to be woken.
    pub(crate) fn fail_first(&mut self, failure: F) -> Option<Waker> {
        (self.head != NIL).then(|| self.settle(self.head, NodeState::Failed(failure)))
    }

    /// Fails one whose deadline has passed, who is to be woken.
    pub(crate) fn fail_expired(&mut self, now: Moment, failure: F) -> Option<Waker> {
        let (deadline, key) = self.nearest()?;
        (deadline <= now).then(|| self.settle(key, NodeState::Failed(failure)))
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> Moment {
        self.nearest().map_or(Moment::NEVER, |(deadline, _)| deadline)
    }

    /// The wakers of all that wait, who will leave others when they are polled.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        for (_, node) in &mut self.nodes {
            if let NodeState::Waiting(waker) = &mut node.state {
                wakers.push(std::mem::replace(waker, Waker::noop().clone()));
            }
        }
    }

    /// Takes the outcome, after which the key is void, or waits on to be woken by `waker`.
    ///
    /// A waker is a user's: it is cloned before and dropped after, outside the lock. `spare` is a clone if
    /// one was asked for, and the one to be dropped afterwards.
    pub(crate) fn poll(
        &mut self,
        key: Key,
        waker: &Waker,
        spare: &mut Option<Waker>,
    ) -> Polled<T, F> {
        if let NodeState::Waiting(current) = &mut self.nodes[key].state {
            if !current.will_wake(waker) {
                let Some(clone) = spare.take() else { return Polled::NeedsWaker };
                *spare = Some(std::mem::replace(current, clone));
            }
            return Polled::Waiting;
        }
        match self.nodes.remove(key).state {
            NodeState::Granted(grant) => Polled::Ready(Ok(self.grants.remove(grant))),
            NodeState::Failed(failure) => Polled::Ready(Err(failure)),
            NodeState::Waiting(_) => unreachable!("bug: a waiting node was removed"),
        }
    }

    /// Leaves. The key is void then; a place that was granted goes to somebody else.
    pub(crate) fn leave(&mut self, key: Key) -> Left<T, F> {
        if matches!(self.nodes[key].state, NodeState::Waiting(_)) {
            self.unlink(key);
        }
        match self.nodes.remove(key).state {
            NodeState::Waiting(waker) => Left::Waiting(waker),
            NodeState::Granted(grant) => Left::Granted(self.grants.remove(grant)),
            NodeState::Failed(failure) => Left::Failed(failure),
        }
    }

    fn nearest(&self) -> Option<(Moment, Key)> {
        let regular = self.nodes.get(self.first_regular);
        let regular = regular.map(|node| (node.deadline, self.first_regular));
        regular.into_iter().chain(self.odd.first().copied()).min()
    }

    fn settle(&mut self, key: Key, outcome: NodeState<F>) -> Waker {
        self.unlink(key);
        match std::mem::replace(&mut self.nodes[key].state, outcome) {
            NodeState::Waiting(waker) => waker,
            NodeState::Granted(_) | NodeState::Failed(_) => {
                unreachable!("bug: a waiter had two outcomes")
            }
        }
    }

    fn unlink(&mut self, key: Key) {
        let Node { prev, next, deadline, odd, .. } = self.nodes[key];
        match self.nodes.get_mut(prev) {
            Some(prev) => prev.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next) {
            Some(next) => next.prev = prev,
            None => self.tail = prev,
        }
        self.waiting -= 1;
        if odd {
            self.odd.remove(&(deadline, key));
        } else if key == self.first_regular {
            self.advance_regular(next);
        }
    }

    /// The regular ones behind the first stand behind it in the list too: every node is passed once.
    fn advance_regular(&mut self, mut key: Key) {
        while self.nodes.get(key).is_some_and(|node| node.odd) {
            key = self.nodes[key].next;
        }
        self.first_regular = key;
        if key == NIL {
            self.last_regular = None;
        }
    }
}

/// How one stands that waits.
pub(crate) enum Polled<T, F> {
    Ready(Result<T, F>),
    Waiting,
    /// To be polled again with a clone of its waker.
    NeedsWaker,
}

/// How the one stood that left. To be dropped outside the lock.
pub(crate) enum Left<T, F> {
    /// It waited.
    #[expect(dead_code, reason = "carried out of the lock, to be dropped there")]
    Waiting(Waker),
    /// It had been granted this place.
    Granted(T),
    /// It had failed.
    Failed(F),
}
