//! Three nodes, one etcd, four peers, and whatever may happen to them, in any order: a seed decides. In the end all is
//! well again, and everybody must agree.

mod store;
mod world;

use super::*;
use crate::value::{Owner, Settings};
use world::{SHARED_NET, World, key, texts};

const NODES: usize = 3;
const PEERS: u8 = 4;
const SEEDS: u64 = 400;
const STEPS: usize = 400;

impl World {
    /// Nothing more happens, and all that is on its way arrives.
    fn settle(&mut self) {
        for node in 0..NODES {
            self.nodes[node].state.drain(false);
            self.watch_gateway(node);
            self.nodes[node].state.gateway_role(true);
        }
        for _ in 0..200 {
            for node in 0..NODES {
                self.connect(node);
                while !self.nodes[node].said.is_empty() {
                    self.say(node);
                }
                self.set(node);
                self.claim(node);
                while self.hear(node) {}
                self.nodes[node].state.routes.poll(99);
            }
        }
        for node in &self.nodes {
            assert!(node.state.is_idle() && node.setting.is_empty() && node.claiming.is_empty(), "it has come to rest");
        }
    }

    /// The prefixes that a peer should have: others that were written later have theirs.
    fn own(&self, peer: &PublicKey, settings: &Settings) -> Vec<String> {
        let revision = |peer: &PublicKey| self.store.keys[&self.keys.peer(peer)].1;
        let later = (1..=PEERS)
            .map(key)
            .filter(|other| self.store.keys.contains_key(&self.keys.peer(other)) && revision(other) > revision(peer));
        let theirs = later.filter_map(|other| Settings::parse(&self.store.keys[&self.keys.peer(&other)].0).ok());
        let theirs: Vec<String> = theirs.flat_map(|settings| texts(&settings)).collect();
        texts(settings).into_iter().filter(|text| !theirs.contains(text)).collect()
    }

    fn check(&self) {
        // Not every node knows what a peer with a bad value had before, and so whether that is later.
        let is_bad = |peer: PublicKey| {
            let value = self.store.keys.get(&self.keys.peer(&peer));
            value.is_some_and(|(value, ..)| Settings::parse(value).is_err())
        };
        let is_clear = !(1..=PEERS).map(key).any(is_bad);
        let known = |text: &String| is_clear || !text.starts_with(SHARED_NET);
        for peer in (1..=PEERS).map(key) {
            let value = self.store.keys.get(&self.keys.peer(&peer)).map(|(value, ..)| Settings::parse(value));
            for node in &self.nodes {
                match &value {
                    Some(Ok(settings)) => {
                        let (has, own) = (texts(&node.peers[&peer]), self.own(&peer, settings));
                        assert!(has.iter().filter(|text| known(text)).eq(own.iter().filter(|text| known(text))));
                    }
                    Some(Err(_)) => {}
                    None => assert!(!node.peers.contains_key(&peer), "{:?}", node.state.peers.get(&peer)),
                }
            }
            let owners: Vec<usize> =
                (0..NODES).filter(|&node| self.nodes[node].state.owned(99).any(|owned| *owned == peer)).collect();
            let claim = self.store.keys.get(&self.keys.session(&peer));
            let claim = claim.map(|(value, _, lease)| (Owner::parse(value).unwrap(), lease));
            for (number, node) in self.nodes.iter().enumerate() {
                if let Some(Ok(settings)) = &value {
                    let is_elsewhere = owners.iter().any(|owner| *owner != number);
                    let keepalive_s = if is_elsewhere { 0 } else { settings.persistent_keepalive_s };
                    assert_eq!(node.peers[&peer].persistent_keepalive_s, keepalive_s);
                }
            }
            match (&owners[..], claim) {
                ([], None) => {}
                ([owner], Some((claim, lease))) => {
                    assert_eq!((*claim.node).to_owned(), format!("node-{owner}"));
                    assert_eq!(*lease, self.nodes[*owner].lease);
                    assert!(self.nodes[*owner].sessions.contains_key(&peer));
                }
                found => panic!("owners, and the claim: {found:?}"),
            }
            if let Some((node, at)) = self.last.get(&peer)
                && self.nodes[*node].sessions.get(&peer) == Some(at)
            {
                assert_eq!(owners, [*node], "the last who confirmed");
            }
        }
        for node in &self.nodes {
            let owned = node.state.owned(99).flat_map(|peer| texts(&node.peers[peer]));
            let mut expected: Vec<String> = owned.collect();
            let mut routes: Vec<String> = node.state.routes.all().iter().map(ToString::to_string).collect();
            expected.sort();
            routes.sort();
            assert_eq!(routes, expected);
        }
    }
}

#[test]
fn whatever_happens_everybody_agrees_in_the_end() {
    let mut moves = 0;
    for seed in 0..SEEDS {
        let run = || {
            let mut world = World::new(seed);
            // At least one, or there is nothing to list: see the guard of `etcd_list_ended`.
            let always = world.keys.peer(&key(PEERS + 1));
            world.store.put(always, br#"{"allowed_ips": []}"#.to_vec(), 0);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
            world.check();
            world.nodes.iter().map(|node| node.state.counts().claims_total).sum::<u64>()
        };
        let outcome = std::panic::catch_unwind(run);
        moves += outcome.unwrap_or_else(|panic| {
            eprintln!("this was seed {seed}");
            std::panic::resume_unwind(panic)
        });
    }
    assert!(moves > SEEDS, "claims were written: {moves}");
}
