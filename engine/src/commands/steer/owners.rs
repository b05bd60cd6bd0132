//! Which gateways there are, and where.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ringfort_core::node::{NODE_BITS_MAX, Node};

use super::PlanError;

/// `NUMBER=ADDRESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    number: u32,
    address: IpAddr,
}

impl FromStr for NodeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "expected NUMBER=ADDRESS, as in 1=10.0.0.11".to_owned();
        let (number, address) = text.split_once('=').ok_or_else(form)?;
        let number = number.parse().map_err(|_| form())?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(format!("{address} is not the address of another machine"));
        }
        Ok(Self { number, address })
    }
}

/// Where one gateway is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeAddresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// All gateways but this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    pub own: Node,
    pub others: BTreeMap<u8, NodeAddresses>,
}

impl Owners {
    /// # Errors
    /// [`PlanError`].
    pub fn of(own: Node, nodes: &[NodeAddress]) -> Result<Self, PlanError> {
        let (mut all, mut numbers) = (BTreeMap::<u8, NodeAddresses>::new(), BTreeMap::new());
        for &NodeAddress { number, address } in nodes {
            let second = Node::new(number, own.bits()).map_err(PlanError::Node)?.number();
            if let Some(first) = numbers.insert(address, second).filter(|&first| first != second) {
                return Err(PlanError::Shared { address, first, second });
            }
            let addresses = all.entry(second).or_default();
            let is_first = match address {
                IpAddr::V4(v4) => addresses.v4.replace(v4).is_none(),
                IpAddr::V6(v6) => addresses.v6.replace(v6).is_none(),
            };
            if !is_first {
                return Err(PlanError::TwoAddresses { number: second });
            }
        }
        all.remove(&own.number());
        if all.is_empty() {
            return Err(PlanError::Alone);
        }
        Ok(Self { own, others: all })
    }

    /// The number of a node as the top byte of its indices has it.
    pub const fn bits_of(&self, number: u8) -> u8 {
        number << (NODE_BITS_MAX - self.own.bits())
    }

    /// The part of that byte that has the number.
    pub const fn mask(&self) -> u8 {
        self.bits_of(u8::MAX)
    }
}
