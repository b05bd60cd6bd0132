//! Which routes there should be, and which there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ringfort_core::allowed_ips::Prefix;

/// The routes of one interface in one table.
#[derive(Debug, Default)]
pub struct Routes {
    /// For how many a route is wanted. Two peers may claim the same prefix for a moment.
    wanted: BTreeMap<Prefix, u32>,
    /// What the kernel has.
    installed: BTreeSet<Prefix>,
    /// What may have to be changed.
    changed: BTreeSet<Prefix>,
    /// The interface is there, and the kernel was asked for its routes.
    is_known: bool,
    /// Routes that nobody wants may be removed: it is known who has a session.
    may_remove: bool,
}

/// What the kernel has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RouteOps {
    /// To be removed first.
    pub remove: Vec<Prefix>,
    /// To be added.
    pub add: Vec<Prefix>,
}

impl RouteOps {
    /// There is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

impl Routes {
    /// One more wants a route.
    pub(super) fn want(&mut self, prefix: Prefix) {
        let count = self.wanted.entry(prefix).or_default();
        *count += 1;
        if *count == 1 {
            self.changed.insert(prefix);
        }
    }

    /// One of those who wanted it does so no longer.
    pub(super) fn unwant(&mut self, prefix: Prefix) {
        let Some(count) = self.wanted.get_mut(&prefix) else { return };
        *count -= 1;
        if *count == 0 {
            self.wanted.remove(&prefix);
            self.changed.insert(prefix);
        }
    }

    /// What nobody wants may be removed from now on, or not yet.
    pub(super) fn allow_removal(&mut self, may: bool) {
        if may && !self.may_remove {
            self.changed.extend(&self.installed);
        }
        self.may_remove = may;
    }

    /// The kernel has these.
    pub fn set_installed(&mut self, prefixes: impl IntoIterator<Item = Prefix>) {
        self.installed = prefixes.into_iter().collect();
        self.is_known = true;
        self.changed = self.wanted.keys().chain(&self.installed).copied().collect();
    }

    /// The interface is gone, and all routes through it.
    pub fn forget_installed(&mut self) {
        self.installed.clear();
        self.is_known = false;
    }

    /// Up to `max` things to do. They count as done.
    pub fn poll(&mut self, max: usize) -> RouteOps {
        let mut ops = RouteOps::default();
        let mut from = Bound::Unbounded;
        while self.is_known && ops.add.len() + ops.remove.len() < max {
            let Some(&prefix) = self.changed.range((from, Bound::Unbounded)).next() else { break };
            from = Bound::Excluded(prefix);
            match (self.wanted.contains_key(&prefix), self.installed.contains(&prefix)) {
                (true, false) => {
                    self.installed.insert(prefix);
                    ops.add.push(prefix);
                }
                (false, true) if !self.may_remove => continue,
                (false, true) => {
                    self.installed.remove(&prefix);
                    ops.remove.push(prefix);
                }
                _ => {}
            }
            self.changed.remove(&prefix);
        }
        ops
    }

    /// How many there are in the kernel.
    #[must_use]
    pub fn installed(&self) -> usize {
        self.installed.len()
    }

    /// The kernel has refused to add it: it is tried again when the interface comes up, or the agent starts.
    pub fn refused(&mut self, prefix: Prefix) {
        self.installed.remove(&prefix);
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Prefix> {
        self.installed.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text.parse().unwrap(), 32).unwrap()
    }

    #[test]
    fn what_is_left_from_before_is_removed_once_it_is_known_who_is_there() {
        let (old, kept, new) = (prefix("10.0.0.1"), prefix("10.0.0.2"), prefix("10.0.0.3"));
        let mut routes = Routes::default();
        routes.want(new);
        assert!(routes.poll(9).is_empty(), "there is no interface");
        routes.set_installed([old, kept]);
        assert_eq!(routes.poll(9), RouteOps { remove: vec![], add: vec![new] });
        routes.want(kept);
        routes.allow_removal(true);
        assert_eq!(routes.poll(9), RouteOps { remove: vec![old], add: vec![] });
        assert_eq!(routes.installed(), 2);
        routes.forget_installed();
        routes.set_installed([]);
        assert_eq!(routes.poll(1).add, [kept]);
        assert_eq!(routes.poll(1).add, [new]);
        assert!(routes.poll(1).is_empty());
    }

    #[test]
    fn a_route_stays_as_long_as_anybody_wants_it() {
        let one = prefix("10.0.0.1");
        let mut routes = Routes::default();
        routes.set_installed([]);
        routes.allow_removal(true);
        routes.want(one);
        routes.want(one);
        assert_eq!(routes.poll(9).add, [one]);
        routes.unwant(one);
        assert!(routes.poll(9).is_empty());
        routes.unwant(one);
        assert_eq!(routes.poll(9).remove, [one]);
        // Gone and back before anybody looked.
        routes.want(one);
        routes.unwant(one);
        assert!(routes.poll(9).is_empty());
    }
}
