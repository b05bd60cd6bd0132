//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use log::LevelFilter;
use ringfort_core::allowed_ips::Prefix;
use route_netlink::TABLE_MAIN;

/// With the commit that it was built from if whoever built it says so: `scripts/package` does.
pub const VERSION: &str = match option_env!("RINGFORT_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
/// Of routes, so everybody sees whose they are. Nobody else is known to have this number.
pub const PROTOCOL: u8 = 52;
/// Seconds.
const TTL: u16 = 5;

/// Keeps the peers of a Ringfort gateway as etcd has them, and says in etcd and by routes which gateway has whom
#[derive(Debug, Parser)]
#[command(name = "ringfort-agent", version = VERSION, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a gateway, in the foreground, until SIGTERM or Ctrl-C
    Run(Box<RunArgs>),
    /// Say what the agent of a gateway knows
    Status(StatusArgs),
    /// Before maintenance: give all peers away, and wait until other nodes have them
    Drain(DrainArgs),
    /// After maintenance: take peers again
    Resume(ResumeArgs),
}

const RUN_HELP: &str = "\
In etcd, below /ringfort/NETWORK/:
  peers/PUBLICKEY     what you write: how the peer should be. A value, with all that it may have:
                      {\"allowed_ips\": [\"10.0.0.2/32\"], \"preshared_key\": \"…\", \"persistent_keepalive\": 25,
                       \"name\": \"laptop\", \"endpoint\": \"192.0.2.7:51820\"}
  sessions/PUBLICKEY  what agents write: which node has the session, and where the peer is

The agent owns the peers of the interface. What etcd does not have is removed, except with --keep-others.

Each option can be an environment variable, as said beside it. The control socket of the gateway and the agent's own one
are root's, and routes need CAP_NET_ADMIN.";

/// Of `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {
    /// The interface that the gateway serves
    pub interface: String,

    /// The network whose peers these are: the NETWORK of the keys
    #[arg(long, value_name = "NETWORK", env = "RINGFORT_AGENT_NETWORK", value_parser = name)]
    pub network: String,

    /// Members of etcd, separated by commas; the agent speaks with one of them, and goes on to the next if it fails
    #[arg(
        long,
        value_name = "URL,…",
        env = "RINGFORT_AGENT_ETCD",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        value_parser = url
    )]
    pub etcd: Vec<String>,

    /// The certificate authority of etcd, in PEM; needed for https://
    #[arg(long, value_name = "FILE", env = "RINGFORT_AGENT_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,

    /// The agent's certificate for etcd, in PEM
    #[arg(long, value_name = "FILE", env = "RINGFORT_AGENT_ETCD_CERT", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,

    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "RINGFORT_AGENT_ETCD_KEY", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,

    /// The agent's name for etcd's own authentication
    #[arg(long, value_name = "NAME", env = "RINGFORT_AGENT_ETCD_USER", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,

    /// Where the password of that name is; a line feed at its end does not count
    #[arg(long, value_name = "FILE", env = "RINGFORT_AGENT_ETCD_PASSWORD_FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,

    /// The name of this node, which no other one may have [default: the name of the machine]
    #[arg(long, value_name = "NAME", env = "RINGFORT_AGENT_NODE", value_parser = name)]
    pub node: Option<String>,

    /// Seconds after which etcd forgets the claims of a node that is not heard of
    #[arg(
        long,
        value_name = "SECONDS",
        env = "RINGFORT_AGENT_TTL",
        default_value_t = TTL,
        value_parser = clap::value_parser!(u16).range(2..=3600)
    )]
    pub ttl: u16,

    /// The routing table that routes to peers are in
    #[arg(
        long,
        value_name = "NUMBER",
        env = "RINGFORT_AGENT_TABLE",
        default_value_t = TABLE_MAIN,
        value_parser = table
    )]
    pub table: u32,

    /// The protocol number of these routes, by which BIRD and FRR know them
    #[arg(
        long,
        value_name = "NUMBER",
        env = "RINGFORT_AGENT_PROTOCOL",
        default_value_t = PROTOCOL,
        value_parser = clap::value_parser!(u8).range(5..)
    )]
    pub protocol: u8,

    /// A prefix with a route as long as this node takes peers, such as the address that all gateways share
    #[arg(long, value_name = "PREFIX,…", env = "RINGFORT_AGENT_ANNOUNCE", value_delimiter = ',', value_parser = prefix)]
    pub announce: Vec<Prefix>,

    /// A prefix of each node, the same list everywhere. A node announces its own. When the network has no route to that
    /// of another any more, the peers of that one are asked for sessions here
    #[arg(
        long,
        value_name = "NODE=PREFIX,…",
        env = "RINGFORT_AGENT_NODES",
        value_delimiter = ',',
        value_parser = node_prefix
    )]
    pub nodes: Vec<(String, Prefix)>,

    /// Leave peers alone that were never in etcd while the agent runs, such as those of the configuration file
    #[arg(long, env = "RINGFORT_AGENT_KEEP_OTHERS")]
    pub keep_others: bool,

    /// Withdraw routes and claims at the end, rather than leave them to the next start
    #[arg(long, env = "RINGFORT_AGENT_WITHDRAW")]
    pub withdraw: bool,

    /// What is logged: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "RINGFORT_AGENT_LOG_LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
}

/// Of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The interface
    pub interface: String,

    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

const DRAIN_HELP: &str = "\
The routes and the claims of this node are withdrawn at once, --announce among them, and new sessions are not claimed.
Other nodes ask peers for sessions that the network leads to them now. Where it does not, a client that sends notices
after 15 s.

Status 0: nobody is left. 3: the time is over, and some are left; the node stays drained. Ctrl-C ends the waiting only.
A new start of the agent takes peers again, as `resume` does.";

/// Of `drain`.
#[derive(Debug, Args)]
#[command(after_help = DRAIN_HELP)]
pub struct DrainArgs {
    /// The interface
    pub interface: String,

    /// Seconds to wait for the last peer
    #[arg(long, value_name = "SECONDS", default_value_t = 200)]
    pub timeout: u32,

    /// Print one line of JSON at the end: the status
    #[arg(long)]
    pub json: bool,
}

/// Of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The interface
    pub interface: String,
}

/// A part of a key of etcd.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_plain) {
        return Err("a name has 1 to 64 letters, digits, and any of -_.".to_owned());
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    if rest.is_empty() {
        return Err("write it as http://HOST:PORT or https://HOST:PORT".to_owned());
    }
    Ok(text.to_owned())
}

fn table(text: &str) -> Result<u32, String> {
    match text {
        "main" => Ok(TABLE_MAIN),
        text => text.parse().ok().filter(|&table| table > 0).ok_or_else(|| "main, or a number from 1 on".to_owned()),
    }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let read = || {
        let (addr, len) = text.split_once('/')?;
        Prefix::new(addr.parse().ok()?, len.parse().ok()?).filter(|prefix| !prefix.is_empty())
    };
    read().ok_or_else(|| "write it as 192.0.2.1/32 or 2001:db8::1/128; a default route is not announced".to_owned())
}

fn node_prefix(text: &str) -> Result<(String, Prefix), String> {
    let (node, network) = text.split_once('=').ok_or_else(|| "write it as NODE=PREFIX".to_owned())?;
    Ok((name(node)?, prefix(network)?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let words = "ringfort-agent run wg0 --network office --etcd http://a:1,https://b:2 --table main --announce \
                     192.0.2.1/32,2001:db8::/64 --node a.b --nodes a.b=10.9.0.1/32,c=10.9.0.2/32";
        let Command::Run(args) = Cli::try_parse_from(words.split_whitespace()).unwrap().command else { panic!() };
        assert_eq!((args.etcd.len(), args.table, args.announce.len(), args.ttl), (2, 254, 2, 5));
        assert_eq!((args.nodes.len(), args.nodes[1].0.as_str()), (2, "c"));
        for bad in [
            "--network a/b",
            "--network a --etcd a:1",
            "--network a --ttl 1",
            "--network a --announce ::/0",
            "--network a --nodes 10.9.0.1/32",
        ] {
            assert!(Cli::try_parse_from(format!("ringfort-agent run wg0 {bad}").split_whitespace()).is_err(), "{bad}");
        }
    }
}
