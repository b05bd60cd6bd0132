//! The lab: a demonstration of two gateways, and measurements against other implementations.
//!
//! Everything happens in network namespaces that it makes and removes; nothing of the machine's own network is
//! touched. It needs root, `iproute2` and a `ringfort` binary, which it looks for beside its own. `report` needs
//! nothing. `generator` and `reflector` measure between two hosts, where and as they are.

/// As that of `std`, except that nobody panics: see [`text::show`].
macro_rules! println {
    ($($arguments:tt)*) => { crate::text::show(format_args!($($arguments)*)) };
}

mod aead;
mod busy;
mod compare;
mod demo;
mod floods;
mod handshakes;
mod interrupt;
mod nodes;
mod pair;
mod peers;
mod players;
mod report;
mod results;
mod scale;
mod schema;
mod series;
mod setup;
mod soak;
mod stage;
mod stages;
mod table;
mod text;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ringfort_testbed::daemon::{Program, find_in_path};
use ringfort_testbed::{Context, Error, Result, janitor};

/// Shows and measures Ringfort between network namespaces of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Two gateways, a ping, a TCP transfer and a UDP stream through the tunnel between them.
    Demo(demo::Options),
    /// Throughput, latency, CPU and memory of several implementations, taking turns.
    Compare(compare::Options),
    /// Every cipher provider that this CPU can run, in memory, taking turns.
    Aead(aead::Options),
    /// A gateway under a flood: what a transfer of another peer keeps, beside the same flood dropped by nftables. All
    /// of it takes 22 minutes.
    Floods(floods::Options),
    /// Two gateways behind one address, with keepalived: what clients lose when one of them fails, and how long a
    /// promotion takes.
    Pair(pair::Options),
    /// Installs the other implementations, and the tools that measure along.
    FetchPeers(peers::Options),
    /// Shows a file of results, renders it as a page with plots, or compares two of them.
    Report(report::Options),
    /// Where a packet's time goes inside of a gateway: each stage of its way, for each worker, and what measuring it
    /// costs.
    Stages(stages::Options),
    /// One UDP load at a set rate, every packet accounted for: offered, delivered, lost, reordered, one-way latency.
    Udp(traffic::udp::Options),
    /// The rates that a gateway carries without loss and with little (NDR, PDR), and the latencies below them.
    Rfc2544(traffic::rfc2544::Options),
    /// Hours of mixed traffic through a tunnel, with figures for each minute, and what drifts meanwhile.
    Soak(soak::Options),
    /// Measures between two hosts, through an existing tunnel, a router, or anything else: UDP, TCP, latency, also
    /// under load, NDR and PDR, and soaks. A reflector has to run on the other host.
    Generator(traffic::generator::Options),
    /// The other end of `generator`: waits for one, receives its traffic and sends what it asks for.
    Reflector(traffic::reflector::Options),
    /// A crowd of clients that shake hands with one gateway: handshakes per second, time to a session, what they cost,
    /// and how long another peer's pings take meanwhile.
    Handshakes(handshakes::Options),
    /// Three gateways with one key and one address behind a router that spreads flows over them: what clients lose when
    /// it leaves one out, has it back, and when one dies. Fails if that is more than it must be.
    Nodes(nodes::Options),
}

/// Which Ringfort, and how many workers it runs.
#[derive(Args, Clone, Debug)]
struct Gateway {
    /// The gateway to run; the one that was built beside this program unless given
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Workers of each gateway; as many as it chooses itself unless given
    #[arg(long, value_name = "NUMBER")]
    workers: Option<u16>,
}

impl Gateway {
    fn program(&self) -> Result<Program> {
        let path = match &self.binary {
            Some(path) => find_in_path(path, Path::new("/nonexistent"))
                .ok_or_else(|| Error::new(format!("--binary: {} is not a program", path.display())))?,
            None => built_beside()?,
        };
        let program = Program::ringfort(path);
        Ok(match self.workers {
            Some(workers) => program.with_options(&format!("--workers {workers}")),
            None => program,
        })
    }
}

fn built_beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let path = own.with_file_name("ringfort");
    if path.exists() {
        return Ok(path);
    }
    Err(Error::new(format!("{} is missing: build it with `cargo build --release`, or give --binary", path.display())))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = interrupt::install().and_then(|()| match &arguments.command {
        Command::Demo(options) => demo::run(options),
        Command::Compare(options) => compare::run(options),
        Command::Aead(options) => aead::run(options),
        Command::Floods(options) => floods::run(options),
        Command::Pair(options) => pair::run(options),
        Command::FetchPeers(options) => peers::run(options),
        Command::Report(options) => report::run(options),
        Command::Stages(options) => stages::run(options),
        Command::Udp(options) => traffic::udp::run(options),
        Command::Rfc2544(options) => traffic::rfc2544::run(options),
        Command::Soak(options) => soak::run(options),
        Command::Generator(options) => traffic::generator::run(options),
        Command::Reflector(options) => traffic::reflector::run(options),
        Command::Nodes(options) => nodes::run(options),
        Command::Handshakes(options) => handshakes::run(options),
    });
    if interrupt::requested() {
        // Its thread cleans up and ends the process; what failed meanwhile failed because of that.
        interrupt::wait_for_exit();
    }
    janitor::sweep();
    match outcome.and_then(|()| text::shown()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfort-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handbook's commands take minutes or files, so they are not run; but this program understands them.
    #[test]
    fn the_handbook_names_commands_that_there_are() {
        let page = ringfort_handbook::page("measuring.md").unwrap();
        let commands = page.blocks.iter().filter(|block| block.is_commands()).flat_map(|block| block.commands());
        let ours: Vec<_> = commands.filter(|one| one.command.starts_with("ringfort-bench ")).collect();
        assert!(ours.len() >= 8, "{ours:?}");
        for one in ours {
            let parsed = Arguments::try_parse_from(one.command.split_whitespace());
            assert!(parsed.is_ok(), "docs/src/measuring.md:{}: {}", one.line, parsed.unwrap_err());
        }
    }
}
