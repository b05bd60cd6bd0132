//! Whatever is counted is shown, each under a name of its own.

use std::collections::BTreeMap;
use std::path::Path;

use ringfort_core::drops::DropCounts;

use super::*;

/// Source of the daemon and of the protocol, without tests and without the definition of the reasons.
fn source_of(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name == "tests" || name.ends_with("tests.rs") || name == "drops.rs" || name == "test_support.rs" {
            continue;
        }
        if path.is_dir() {
            source_of(&path, text);
        } else {
            let file = std::fs::read_to_string(&path).unwrap();
            // Tests come last in a file.
            let code = file.split("#[cfg(test)]\nmod tests {").next().unwrap();
            code.lines().filter(|line| !line.trim_start().starts_with("//")).for_each(|line| text.push_str(line));
        }
    }
}

/// A reason that nothing is counted under is a promise that is not kept.
#[test]
fn every_reason_for_a_drop_is_given_somewhere() {
    let worker = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for part in ["src", "../core/src", "../path/src"] {
        source_of(&worker.join(part), &mut text);
    }
    // Also where another error becomes one: `impl From<…> for DropReason`.
    let is_given =
        |reason: &DropReason| ["DropReason", "Self"].iter().any(|ty| text.contains(&format!("{ty}::{reason:?}")));
    let idle: Vec<_> = DropReason::ALL.iter().filter(|reason| !is_given(reason)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

/// Whatever a part of the worker counts can be read by name, and each under a name of its own.
#[test]
fn what_is_counted_is_shown() {
    let stats = WorkerStats::default();
    let path = ringfort_path::Counters {
        tun_read_packets: 41,
        tun_read_bytes: 42,
        tun_write_packets: 43,
        tun_write_bytes: 44,
        udp_receive_datagrams: 45,
        udp_receive_trains: TrainLengths::from([46, 0, 0, 0, 0, 0, 0, 0]),
        udp_send_datagrams: 47,
        udp_send_trains: TrainLengths::from([0, 0, 0, 0, 48, 0, 0, 0]),
        keepalive_tails: 49,
        handshakes: 50,
        handoffs: 51,
        icmp_sent: 52,
        icmp_suppressed: 53,
        cookies_sent: 54,
        drops: DropCounts::new(),
    };
    let ring = RingCounters { enters: 1, completions: 2, submission_full: 3, unexpected: 7 };
    let slots = Accounting { free: 4, kernel: 5, held: 6, total: 15 };
    let tun = tun_uring::EdgeCounters {
        reads: 21,
        reads_begun: 22,
        reads_starved: 23,
        read_errors: 24,
        writes: 25,
        writes_gathered: 26,
        writes_unregistered: 27,
        write_errors: 28,
        late_completions: 29,
    };
    let udp = udp_uring::EdgeCounters {
        receives_renewed: 31,
        receives_starved: 32,
        receive_errors: 33,
        retries_without_source: 34,
        retries_unsegmented: 35,
        trains_split: 36,
        late_completions: 37,
    };
    stats.publish(&path, ring, slots, tun, udp);
    let by_name: BTreeMap<_, _> = stats.figures().into_iter().collect();
    assert_eq!(by_name.len(), WorkerStats::FIGURES, "each name once");
    let shown: Vec<u64> = by_name.into_values().filter(|&n| n > 0).collect();
    let counted = (1..=7).chain([15]).chain(21..=29).chain(31..=37).chain(41..=54);
    assert!(counted.clone().all(|n| shown.iter().filter(|&&s| s == n).count() == 1), "{shown:?}");
    assert_eq!(shown.len(), counted.count());
}

/// The scheduler's time of a thread is that of its own clock.
#[test]
fn cpu_time_is_that_of_the_thread_that_counts() {
    let stats = WorkerStats::default();
    assert_eq!(stats.cpu_time(), None, "nobody counts yet");
    stats.note_thread();
    let read = || Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap());
    let before = read();
    let seen = stats.cpu_time().unwrap();
    assert!(before <= seen && seen <= read());
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| stats.cpu_time()).join().unwrap());
    assert!(elsewhere.unwrap() >= seen, "any thread may ask");
}

/// What Prometheus wants of names: a suffix for the kind comes later, so none is there already, and no unit that is not
/// a base unit.
#[test]
fn the_table_can_be_shown_as_metrics() {
    let mut families: Vec<&str> = Vec::new();
    for Figure { name, family, label, help, .. } in WorkerStats::TABLE {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(plain(name) && plain(family), "{name} in {family}");
        assert!(!family.ends_with("_total") && !family.ends_with("_ns") && !family.ends_with("_ms"), "{family}");
        assert!(help.trim().ends_with('.'), "{name}: {help}");
        if families.last() != Some(&family) {
            assert!(!families.contains(&family), "the figures of {family} stand together");
            families.push(family);
        } else {
            assert!(label.is_some(), "{name} needs a label in {family}");
        }
    }
}
