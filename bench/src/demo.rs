//! The demonstration: two gateways with keys of their own, a ping, a TCP transfer and a UDP stream through the tunnel
//! between them, and a closing table.

use std::time::Duration;

use clap::Args;
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tcp::{self, Amount};
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::udp::{self, Stream, StreamReport};
use ringfort_testbed::{Family, Namespace, Result, Tunnel, uapi};

use crate::text::{Times, duration, grouped, mebibytes, megabits, table};
use crate::{Gateway, stage};

const PINGS: u32 = 200;
const PING_INTERVAL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(5);
const STREAM_SIZE: usize = 1_200;
const NAMES: [&str; 2] = ["a", "b"];

/// What a person may choose.
#[derive(Args, Debug)]
pub struct Options {
    /// How long the TCP transfer and the UDP stream run, each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Datagrams per second of the UDP stream
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    udp_rate: u32,
    #[command(flatten)]
    gateway: Gateway,
}

/// What was measured.
struct Results {
    pings: Vec<Duration>,
    bulk: tcp::Report,
    stream: StreamReport,
}

/// Runs it from the namespaces to the tables.
pub fn run(options: &Options) -> Result<()> {
    let program = options.gateway.program()?;
    println!("Two gateways ({}), one in each of two network namespaces joined by a veth pair", program.path.display());
    let mut tunnel = Tunnel::connected([&program, &program], &Peering { preshared: true, ..Peering::default() })?;
    let opened = tunnel.wait_until_open(0, Duration::from_secs(15))?;
    println!("  handshake    first ping answered after {}", duration(opened));
    if let Ok(stats) = uapi::stats(&tunnel.sides[0].interface) {
        let cipher = stats.keys().find_map(|name| name.strip_prefix("aead_")).unwrap_or("unknown").replace('_', "-");
        println!("  gateway      {} workers, cipher by {cipher}", stats.get("workers").copied().unwrap_or(0));
    }
    let results = Results {
        pings: ping(&tunnel)?,
        bulk: bulk(&tunnel, Duration::from_secs(options.seconds))?,
        stream: stream(&tunnel, options)?,
    };
    print_traffic(&results);
    print_gateways(&mut tunnel)?;
    print_drops(&tunnel)
}

fn ping(tunnel: &Tunnel) -> Result<Vec<Duration>> {
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4))?;
    let describe = |count, _| format!("{count} of {PINGS} answered");
    let times = stage::run("ping", PING_INTERVAL * PINGS, describe, |progress| {
        let mut times = Vec::new();
        for _ in 0..PINGS {
            times.push(pinger.ping(56, PATIENCE)?);
            progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::thread::sleep(PING_INTERVAL);
        }
        Ok(times)
    })?;
    println!("  ping         {PINGS} of {PINGS} answered, median {}", Times::of(&times).percentile(50.0));
    Ok(times)
}

fn bulk(tunnel: &Tunnel, time: Duration) -> Result<tcp::Report> {
    let address = tunnel.sides[1].inner(Family::V4);
    let describe = |bytes, elapsed: Duration| {
        format!("{} MiB, {}", grouped(bytes >> 20), megabits(bytes as f64 * 8.0 / 1e6 / elapsed.as_secs_f64()))
    };
    let report = stage::run("TCP transfer", time, describe, |progress| {
        tcp::transfer(tunnel.namespace(0), tunnel.namespace(1), address, Amount::Time(time), progress)
    })?;
    let rate = megabits(report.megabits_per_s());
    println!("  TCP transfer {} MiB arrived, every byte as it was sent, {rate}", grouped(report.bytes >> 20));
    Ok(report)
}

fn stream(tunnel: &Tunnel, options: &Options) -> Result<StreamReport> {
    let [client, server] = [0, 1].map(|side| (tunnel.namespace(side), tunnel.sides[side].inner(Family::V4)));
    let plan = Stream { size: STREAM_SIZE, rate: options.udp_rate, duration: Duration::from_secs(options.seconds) };
    let describe = |count, _| format!("{} datagrams there and back", grouped(count));
    let report =
        stage::run("UDP stream", plan.duration, describe, |progress| udp::stream(client, server, plan, progress))?;
    println!(
        "  UDP stream   {} datagrams of {STREAM_SIZE} bytes sent, {:.3} % lost",
        grouped(report.sent),
        report.loss_percent()
    );
    Ok(report)
}

fn print_traffic(results: &Results) {
    let stream = &results.stream;
    let pings = grouped(results.pings.len() as u64);
    let bulk = format!("{} MiB", grouped(results.bulk.bytes >> 20));
    let mut rows = table(&["through the tunnel", "sent", "arrived", "lost", "throughput"]);
    rows.add_row(["ping, 56 bytes", &pings, &pings, "0 %", "–"]);
    rows.add_row(["TCP, one connection", &bulk, &bulk, "0 %", &megabits(results.bulk.megabits_per_s())]);
    rows.add_row([
        format!("UDP, {STREAM_SIZE} bytes, echoed"),
        grouped(stream.sent),
        grouped(stream.arrived),
        format!("{:.3} %", stream.loss_percent()),
        megabits(stream.megabits_per_s(STREAM_SIZE)),
    ]);
    println!("\n{rows}");

    let mut rows = table(&["round trip", "p50", "p90", "p99", "p99.9", "longest"]);
    for (name, times) in [("ping", &results.pings), ("UDP stream", &stream.round_trips)] {
        let times = Times::of(times);
        let percentiles = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percent| times.percentile(percent));
        rows.add_row(std::iter::once(name.to_owned()).chain(percentiles));
    }
    println!("{rows}");
}

fn print_gateways(tunnel: &mut Tunnel) -> Result<()> {
    let mut rows = table(&["gateway", "packets in", "packets out", "bytes in", "bytes out", "peak memory"]);
    for (side, namespace) in tunnel.sides.iter_mut().zip(&tunnel.wire.ends) {
        let (packets_in, packets_out) = packets(namespace, &side.interface)?;
        let (received, sent) = uapi::transfer(&uapi::get(&side.interface)?);
        rows.add_row([
            format!("{} ({})", NAMES[side.index], side.outer(Family::V4)),
            grouped(packets_in),
            grouped(packets_out),
            grouped(received),
            grouped(sent),
            mebibytes(side.daemon().memory_peak_kib()),
        ]);
    }
    println!("{rows}");
    Ok(())
}

/// Datagrams received and sent; of a gateway that does not count them, packets at its tunnel interface.
fn packets(namespace: &Namespace, interface: &str) -> Result<(u64, u64)> {
    let stats = uapi::stats(interface).unwrap_or_default();
    match (stats.get("udp_receive_datagrams"), stats.get("udp_send_datagrams")) {
        (Some(&received), Some(&sent)) => Ok((received, sent)),
        _ => namespace.interface_counters(interface).map(|counters| (counters.received, counters.sent)),
    }
}

/// What the gateways dropped, and what the kernel dropped on either side of them.
fn print_drops(tunnel: &Tunnel) -> Result<()> {
    let drops = [0, 1].map(|side| uapi::stats(&tunnel.sides[side].interface).unwrap_or_default());
    let mut rows = table(&["drops by reason", NAMES[0], NAMES[1]]);
    let mut add = |reason: &str, [a, b]: [u64; 2]| {
        if a + b > 0 {
            rows.add_row([reason.replace('_', " "), grouped(a), grouped(b)]);
        }
    };
    let reasons: Vec<&str> = drops[0].keys().filter_map(|name| name.strip_prefix("drop_")).collect();
    for reason in &reasons {
        add(reason, drops.each_ref().map(|stats| stats.get(&format!("drop_{reason}")).copied().unwrap_or(0)));
    }
    let mut kernel = [[0; 2]; 2];
    for (side, namespace) in tunnel.sides.iter().zip(&tunnel.wire.ends) {
        kernel[0][side.index] = namespace.interface_counters(&side.interface)?.send_dropped;
        kernel[1][side.index] = namespace.udp_socket_drops(PORT)?;
    }
    add("the kernel's: the tunnel's queue was full", kernel[0]);
    add("the kernel's: the UDP socket's buffer was full", kernel[1]);
    if !rows.is_empty() {
        println!("{rows}");
    }
    match reasons.len() {
        0 => println!("This gateway does not offer its counters (stats=1), so its own drops are not known."),
        count if rows.is_empty() => println!("Drops: none, for any of {count} reasons."),
        count => println!("All others of {count} reasons: none."),
    }
    Ok(())
}
