//! What `stats=1` and the other short requests answer. For `get=1` see `listing`.

use std::collections::BTreeMap;

use log::LevelFilter;
use ringfort_aead::Suite;
use ringfort_core::device::Device;
use ringfort_core::drops::DropReason;
use ringfort_path::Stage;
use ringfort_worker::StageTable;
use ringfort_worker::fault::Fault;
use serde::Serialize;

use super::data_plane::DataPlane;
use super::file::steward::{Report, Steward};
use super::keyless::Keyless;
use super::logging;
use super::uapi::Reply;
use crate::metrics::Registry;
use crate::origin;

/// The cipher suite of the interface, then each peer that has its own, whether it is there or not. No secrets.
pub fn suites(reply: &mut Reply, device: &Device) {
    reply.line("cipher_suite", device.suite());
    for (key, suite) in device.peer_suites() {
        reply.public_key(key.as_bytes());
        reply.line("cipher_suite", suite);
    }
}

/// The number of the reload that was begun, or that there is no file.
pub fn reload(reply: &mut Reply, number: Option<u64>) {
    reply.line("json", serde_json::json!({ "reload": number }));
}

/// The last reload that was finished.
pub fn report(reply: &mut Reply, report: &Report) {
    let Report { number, failure, lines } = report;
    let of_system = failure.is_some_and(|fault| fault != Fault::Request);
    let json = serde_json::json!({ "reload": number, "ok": failure.is_none(), "system": of_system, "lines": lines });
    reply.line("json", json);
}

/// How this process was started, whether it can start another one itself, how many could not go on in its place, and
/// why the last one could not.
pub fn origin(reply: &mut Reply, steward: Option<&Steward>, (failed, why): (u64, &str)) {
    let (starts, process) = (steward.is_some_and(Steward::is_gateway), std::process::id());
    let origin = origin::get();
    let json = serde_json::json!({
        "process": process, "starts": starts, "origin": origin, "failed_heirs": failed, "why": why,
    });
    reply.line("json", json);
}

/// The configuration file, if the daemon reads one, and whether it is meant as a whole.
pub fn file(reply: &mut Reply, steward: Option<&Steward>) {
    let path = steward.map(|steward| steward.path().to_string_lossy().into_owned());
    let (is_gateway, read_at) = (steward.is_some_and(Steward::is_gateway), steward.map(Steward::read_at));
    reply.line("json", serde_json::json!({ "file": path, "up": is_gateway, "read_at": read_at }));
}

/// What is logged, after it was set to `level` if that is given.
pub fn log_level(reply: &mut Reply, level: Option<LevelFilter>) {
    let before = log::max_level();
    if let Some(level) = level.filter(|&level| level != before) {
        // Said at the louder of the two levels, so the log tells why it falls silent.
        logging::set_level(level.max(before));
        log::info!(
            "the log level is {} from now on, and was {}",
            logging::level_name(level),
            logging::level_name(before)
        );
        logging::set_level(level);
    }
    reply.line("log_level", logging::level_name(log::max_level()));
}

/// Every counter and gauge as a number, in the order: what we are, control's, the sums over all workers, each worker's.
pub fn stats(reply: &mut Reply, device: &Device, plane: &DataPlane, handshakes_waiting: usize, source: &Registry) {
    let (workers, memory) = (&source.workers, source.memory);
    reply.line("workers", workers.len());
    // What does most of the work: full trains of full packets.
    let cipher = plane.plan().main_provider(Suite::ChaCha20Poly1305);
    reply.line(&format!("aead_{}", cipher.name().replace('-', "_")), 1);
    reply.line("link_up", u8::from(device.is_up()));
    reply.line("passive", u8::from(device.is_passive()));
    let node = device.node();
    if !node.is_single() {
        reply.line("node", node.number());
        reply.line("node_bits", node.bits());
    }
    reply.line("peers", device.peer_count());
    let marked = device.peers().filter(|peer| peer.suite() != ringfort_core::suite::Suite::default());
    reply.line("peers_aes256gcm", marked.count());
    reply.line("routes", device.routes().len());
    reply.line("handshakes_waiting", handshakes_waiting);
    reply.line("socket_buffer", plane.sockets().receive_buffer());
    reply.line("memory_packets", memory.packets());
    reply.line("memory_sockets", memory.sockets());
    if let Some(bytes) = memory.bound.limit() {
        reply.line("memory_bound", bytes);
    }
    let staged = workers.iter().map(|worker| worker.staged.get()).sum();
    reply.line("staged_without_private_key", Keyless::waiting(device, staged));
    reply.line("handshakes_sent", plane.handshakes_sent);
    reply.line("handshakes_unsent", plane.handshakes_unsent);
    for &reason in DropReason::ALL {
        let dropped = workers.iter().fold(device.drops().get(reason), |sum, worker| sum + worker.dropped(reason));
        reply.line(&format!("drop_{}", reason.name()), dropped);
    }
    let mut sums = BTreeMap::from([("cookies_sent", plane.cookies_sent)]);
    for (name, value) in workers.iter().flat_map(|worker| worker.figures()) {
        *sums.entry(name).or_insert(0) += value;
    }
    for (name, sum) in sums {
        reply.line(name, sum);
    }
    for (index, worker) in workers.iter().enumerate() {
        for (name, value) in worker.figures() {
            reply.line(&format!("worker{index}_{name}"), value);
        }
    }
    for (index, worker) in workers.iter().enumerate() {
        if let Some(table) = worker.stages() {
            stages(reply, index, table);
        }
    }
}

/// One line with a value as JSON.
pub fn json(reply: &mut Reply, value: &impl Serialize) {
    // Numbers, texts, and maps with texts for keys: all of it can be written.
    if let Ok(text) = serde_json::to_string(value) {
        reply.line("json", text);
    }
}

/// The times of a worker's stages: all of a stage together, and how many took up to so long, but longer than those of
/// the line before. Numbers like all others, so whoever reads the counters can read them.
fn stages(reply: &mut Reply, worker: usize, table: &StageTable) {
    reply.line(&format!("worker{worker}_core"), table.core);
    reply.line(&format!("worker{worker}_stages_every"), table.every);
    for stage in Stage::ALL {
        let (name, histogram) = (stage.name(), table.of(stage));
        reply.line(&format!("worker{worker}_stage_{name}_total_ns"), histogram.total_ns());
        for (longest_ns, count) in histogram.filled() {
            reply.line(&format!("worker{worker}_stage_{name}_upto_{longest_ns}_ns"), count);
        }
    }
}
