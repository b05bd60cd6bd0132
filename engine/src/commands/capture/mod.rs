//! `ringfort capture NAME`: packets of a gateway that runs, for Wireshark and tshark.

mod amounts;
mod copy;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use ringfort_core::crypto::PublicKey;

use super::signals::Signals;
use super::why;
use crate::app::exit;
use crate::capture::Request;
use crate::control::error::DaemonError;
use crate::control::{ask, key_text};
use copy::copy;
use output::Output;

const AFTER_HELP: &str = "\
The file has two interfaces: IP packets as they are in the tunnel, and WireGuard's datagrams as they are on the wire.
Each packet has its direction, and a comment with its peer, its worker, and why it was dropped if it was. Handshake
messages have \"control\" for a worker, and \"accepted\" if they were. So
  ringfort capture wg0 --write - | tshark -r - -Y 'frame.comment contains \"dropped\"'
  ringfort capture wg0 --peer office --side plain --write office.pcapng
  ssh gateway ringfort capture wg0 --sample 1/1000 --write - | wireshark -k -i -

What is in the tunnel is in the file, as plaintext, unless --side cipher is given; keys never are. The gateway waits for
nobody: what is not read in time is lost, and counted. One capture runs at a time. Interrupt it (Ctrl-C) to end it.

IP and UDP headers of datagrams are made anew, since sockets do not show them: addresses, ports and ECN are right.
A packet that the kernel refuses is shown with its reason (send_failed, tun_write_failed). Unless it is a handshake
message, it was shown before as well. Not seen are keepalives that find no slot (no_slot), and datagrams that nobody can
read (runt, truncated_datagram, malformed_receive) or that come after their socket was closed (down).";

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The interface that the daemon serves
    name: String,

    /// Write to this file, which must not exist; "-" is the standard output, for a pipe
    #[arg(short, long, value_name = "FILE")]
    write: String,

    /// Only packets of this peer: its public key, the beginning of it, or its name. Can be given up to 16 times
    #[arg(short, long, value_name = "PEER")]
    peer: Vec<String>,

    /// What to capture: packets in the tunnel, datagrams on the wire, or both
    #[arg(long, value_enum, default_value = "both")]
    side: SideArg,

    /// Only what comes from peers, or only what goes to them
    #[arg(long, value_enum, default_value = "both")]
    direction: DirectionArg,

    /// Only packets that are dropped; their comments say why
    #[arg(long)]
    drops_only: bool,

    /// Keep the first so many bytes of each packet; 0 keeps all
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=65_535))]
    snap_length: u32,

    /// Capture one packet of N, the same on both sides, and at the other end of the tunnel; handshakes always
    #[arg(long, value_name = "1/N", default_value = "1/1", value_parser = amounts::sample)]
    sample: u32,

    /// End after so many packets; 0: do not
    #[arg(short, long, value_name = "PACKETS", default_value_t = 0)]
    count: u64,

    /// End before the file is larger, such as 500K, 100M, 2G, or "none"
    #[arg(long, value_name = "SIZE", default_value = "100M", value_parser = amounts::size)]
    bytes: u64,

    /// End after so long, such as 30s, 10m, 2h, or "none"
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = amounts::time)]
    time: Duration,

    /// Memory of each worker for packets that were not read so far, from 256K to 256M
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = amounts::queue)]
    buffer: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SideArg {
    Plain,
    Cipher,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DirectionArg {
    In,
    Out,
    Both,
}

/// Captures until the end.
pub fn run(args: &Args) -> ExitCode {
    exit(capture(args))
}

fn capture(args: &Args) -> Result<(), DaemonError> {
    // Before anything else: from now on a signal ends the capture, and not the process.
    let signals = Signals::take()?;
    let peers = args.peer.iter().map(|text| find(&args.name, text)).collect::<Result<Vec<_>, _>>()?;
    let request = request(args, &peers);
    let mut output = Output::open(&args.write)?;
    let stream = ask::capture(&args.name, &request).inspect_err(|_| output.discard())?;
    let limits = limits(args);
    eprintln!("capturing at {}: {}; {limits}", args.name, request.describe());
    if request.plain {
        eprintln!("what is in the tunnel will be in the file: keep it as safe as the tunnel");
    }
    let summary = copy(&stream, &mut output, &signals)?;
    eprintln!("{}", summary.text());
    Ok(())
}

fn find(interface: &str, text: &str) -> Result<PublicKey, DaemonError> {
    key_text::decode(text).or_else(|_| why::find(interface, text))
}

fn request(args: &Args, peers: &[PublicKey]) -> Request {
    Request {
        peers: peers.iter().map(key_text::hex).collect(),
        plain: args.side != SideArg::Cipher,
        cipher: args.side != SideArg::Plain,
        inbound: args.direction != DirectionArg::Out,
        outbound: args.direction != DirectionArg::In,
        drops_only: args.drops_only,
        snap_len: args.snap_length,
        one_in: args.sample,
        count: args.count,
        bytes: args.bytes,
        time_ms: u64::try_from(args.time.as_millis()).unwrap_or(u64::MAX),
        queue: args.buffer,
    }
}

/// What ends it.
fn limits(args: &Args) -> String {
    let mut limits = Vec::new();
    if args.count > 0 {
        limits.push(format!("after {} packets", args.count));
    }
    if args.bytes > 0 {
        limits.push(format!("before the file has {} bytes", args.bytes));
    }
    if !args.time.is_zero() {
        limits.push(format!("after {} s", args.time.as_secs_f64()));
    }
    limits.push("with Ctrl-C".to_owned());
    format!("it ends {}", limits.join(", or "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Result<Args, clap::Error> {
        Cli::try_parse_from(words.split(' ')).map(|cli| cli.args)
    }

    #[test]
    fn without_options_all_is_captured_and_disk_and_time_are_bounded() {
        let args = parse("capture wg0 -w -").unwrap();
        let request = request(&args, &[]);
        assert!(request.plain && request.cipher && request.inbound && request.outbound && !request.drops_only);
        assert_eq!((request.snap_len, request.one_in, request.count), (0, 1, 0));
        assert_eq!((request.bytes, request.time_ms, request.queue), (100 << 20, 600_000, 4 << 20));
        assert_eq!(limits(&args), "it ends before the file has 104857600 bytes, or after 600 s, or with Ctrl-C");
        assert!(parse("capture wg0").is_err(), "it has to be said where to");
    }

    #[test]
    fn options_say_what() {
        let words = "capture wg0 -w x --side cipher --direction in --drops-only -s 96 --sample 1/64 -c 7 --bytes none \
                     --time 90s --buffer 1M";
        let request = request(&parse(words).unwrap(), &[PublicKey::new([0xab; 32])]);
        assert!(!request.plain && request.cipher && request.inbound && !request.outbound && request.drops_only);
        assert_eq!((request.snap_len, request.one_in, request.count), (96, 64, 7));
        assert_eq!((request.bytes, request.time_ms, request.queue), (0, 90_000, 1 << 20));
        assert_eq!(request.peers, ["ab".repeat(32)]);
        let text = "ciphertext on the way in of one peer, only what is dropped, one packet of 64, the first 96 bytes \
                    of each";
        assert_eq!(request.describe(), text);
    }
}
