//! `ringfort steer`: rules for whoever stands in front of several gateways with one key and one address.

mod nft;
mod owners;
mod xdp;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, stdout};
use std::net::{IpAddr, Ipv6Addr};
use std::process::ExitCode;

use ebpf_array::Instruction;
use ringfort_core::node::{NODE_BITS_MAX, Node, NodeError};

use super::write;
use crate::app::exit;
use crate::control::error::DaemonError;
use owners::{NodeAddress, NodeAddresses, Owners};

const AFTER_HELP: &str = "\
Several gateways with one private key are behind one address, and a router spreads flows over them (ECMP). Each session
has an owner: the gateway that made it. When the router moves a flow, its datagrams come to another gateway, which has
no key for them. Data, responses and cookie replies carry a receiver index that their owner has chosen, and with --node
its top bits are the owner's number. The rules read it and pass such datagrams on to their owner, as they are: the
owner sees the client's address, and answers it directly. Initiations carry no such index; whoever gets one answers it.

Load the rules on each of the gateways, with the same options but another --self:
  ringfort steer nft --self 0 --bits 2 --device eth0 --nodes 0=10.0.0.10,1=10.0.0.11,2=10.0.0.12 | nft -f -
Loading them again replaces them as a whole, in one step. `nft list table netdev ringfort_51820` shows how many
datagrams went to each node; `nft delete table netdev ringfort_51820` removes the rules.

The rules are in the ingress hook of --device, in front of routing, so no forwarding, route or rule is needed. The other
gateways must be neighbours on --to: a network that they share, without a router between. A datagram that is passed on
arrives with a TTL (hop limit) of 1, and with that nobody passes it on again, here or elsewhere. So there are no loops,
whatever the rules of others say. Fragments of datagrams are not passed on, since only the first has the index.

`ringfort steer xdp` writes the same as a program for the XDP hook of a device, in an object file that iproute2 loads:
  ringfort steer xdp --self 0 --bits 2 --nodes 0=10.0.0.10,1=10.0.0.11,2=10.0.0.12 >steer.o
  ip -force link set dev eth0 xdp obj steer.o sec xdp
  ip link set dev eth0 xdp off
It takes less, since the kernel makes no packet of such a frame. What it cannot pass on goes to the kernel as if it were
not there, so load the rules of nft as well. It leaves to them: a neighbour that the kernel has not asked for yet, all
if the device does not forward (sysctl net.ipv4.ip_forward, net.ipv6.conf.eth0.forwarding), tags of VLANs, options of
IPv4, further headers of IPv6, and what routes send through another device, unless --to says that it may leave there.

When a gateway is gone, load the rules without it on the others, and have them ask its peers for new sessions:
  ringfort steer nft --self 0 --bits 2 --device eth0 --nodes 0=10.0.0.10,1=10.0.0.11 | nft -f -
  ringfort recover wg0
What is passed to a gateway that does not answer is lost. What no rule is for stays, and is dropped as other_node.";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// For whom the rules are: nft, for nftables, or xdp, a program for `ip link`
    #[arg(hide_possible_values = true)]
    form: Form,

    /// The number of this gateway, as its --node has it
    #[arg(long = "self", value_name = "NUMBER")]
    own: u32,

    /// How many top bits of a receiver index have the number, as in --node: 1 to 8
    #[arg(long)]
    bits: u8,

    /// The gateways that are there: number and address of each, which may be an IPv4 and an IPv6 address. Datagrams of
    /// a family are passed on to gateways with an address of that family. Our own may be among them
    #[arg(long, value_name = "NUMBER=ADDRESS", value_delimiter = ',', required = true)]
    nodes: Vec<NodeAddress>,

    /// The network device on which the datagrams of clients arrive: for nft, which needs it. May be given several times
    #[arg(long, value_name = "DEVICE", required_if_eq("form", "nft"), value_parser = device)]
    device: Vec<String>,

    /// The network device that leads to the other gateways. For xdp it stands for any that routes name [default: the
    /// first --device; for xdp the one that the program is loaded on]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    to: Option<String>,

    /// The UDP port of the gateways
    #[arg(long, default_value_t = 51_820, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

/// Who reads the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// nftables.
    Nft,
    /// A program for the XDP hook, as an object file.
    Xdp,
}

/// Why there are no rules for such gateways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum PlanError {
    #[error("--self and --bits: {0}")]
    Own(NodeError),
    #[error("--nodes: {0}")]
    Node(NodeError),
    #[error("--nodes: node {number} has two addresses of one family: name one IPv4 and one IPv6 address at most")]
    TwoAddresses { number: u8 },
    #[error("--nodes: {address} stands for nodes {first} and {second}: each gateway has an address of its own there")]
    Shared { address: IpAddr, first: u8, second: u8 },
    #[error("--nodes: there is no gateway but this one, so nothing can be passed on")]
    Alone,
    #[error("--nodes: {address} is link-local, and routes do not say on which device: give xdp another one of it")]
    LinkLocal { address: IpAddr },
    #[error("--device is for nft: a program of xdp is on the device that `ip link` loads it on")]
    Device,
    #[error("an object file is not for a terminal: write it to a file, as with >steer.o")]
    Terminal,
    #[error("the object file: {0}")]
    Object(String),
}

/// Prints the rules.
pub fn run(args: &Args) -> ExitCode {
    let is_shown = args.form == Form::Xdp && stdout().is_terminal();
    let rules = if is_shown { Err(PlanError::Terminal) } else { args.rules() };
    exit(rules.map_err(|error| DaemonError::Declined(error.to_string())).and_then(|rules| write(&rules)))
}

impl Args {
    fn rules(&self) -> Result<Vec<u8>, PlanError> {
        let own = Node::new(self.own, self.bits).map_err(PlanError::Own)?;
        let owners = Owners::of(own, &self.nodes)?;
        match self.form {
            Form::Nft => Ok(self.nft(&owners).into_bytes()),
            Form::Xdp => xdp::object_file(&self.xdp(&owners)?).map_err(|error| PlanError::Object(error.to_string())),
        }
    }

    fn nft(&self, owners: &Owners) -> String {
        let devices: BTreeSet<&str> = self.device.iter().map(String::as_str).collect();
        let to = self.to.as_deref().or(self.device.first().map(String::as_str)).unwrap_or_default();
        nft::rules(owners, &devices, to, self.port)
    }

    fn xdp(&self, owners: &Owners) -> Result<Vec<Instruction>, PlanError> {
        if !self.device.is_empty() {
            return Err(PlanError::Device);
        }
        let mut v6 = owners.others.values().filter_map(|addresses| addresses.v6);
        if let Some(address) = v6.find(Ipv6Addr::is_unicast_link_local) {
            return Err(PlanError::LinkLocal { address: address.into() });
        }
        Ok(xdp::program(owners, self.port, self.to.is_some()))
    }
}

/// A name that a network device may have, and that needs no quoting.
fn device(text: &str) -> Result<String, String> {
    /// `IFNAMSIZ`, without the zero at its end.
    const LEN_MAX: usize = 15;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if text.is_empty() || text.len() > LEN_MAX || !text.chars().all(is_plain) || [".", ".."].contains(&text) {
        return Err(format!(
            "expected the name of a network device: up to {LEN_MAX} letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(text.to_owned())
}

const _: () = assert!(NODE_BITS_MAX == 8, "the help says so");

#[cfg(test)]
mod tests;
