//! What a worker counts. Each counter has one writer and any number of readers, so adding is a load and a store,
//! as cheap as a plain integer.

use std::sync::Arc;

use ring_buffers::{Accounting, RingCounters};
use ringfort_core::drops::DropReason;

use super::counter::Counter;
use super::stopwatch::StageTable;

/// Defines [`WorkerStats`] and its figures from one table, so nothing is counted that is not shown.
macro_rules! figures {
    ($($(#[$doc:meta])* $visibility:vis $name:ident,)+) => {
        /// One worker's counters and gauges.
        #[derive(Debug)]
        pub struct WorkerStats {
            $($(#[$doc])* $visibility $name: Counter,)+
            drops: [Counter; DropReason::COUNT],
            stages: Option<Arc<StageTable>>,
        }

        impl Default for WorkerStats {
            fn default() -> Self {
                Self {
                    $($name: Counter::default(),)+
                    drops: std::array::from_fn(|_| Counter::default()),
                    stages: None,
                }
            }
        }

        impl WorkerStats {
            /// How many figures there are.
            pub const FIGURES: usize = [$(stringify!($name)),+].len();

            /// Every figure but the drops, by name.
            #[must_use]
            pub fn figures(&self) -> [(&'static str, u64); Self::FIGURES] {
                [$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

figures! {
    /// Packets read from the TUN.
    pub tun_read_packets,
    /// Bytes of those, IP headers included.
    pub tun_read_bytes,
    /// Packets for the TUN. Those that it then refused are among the drops, as `tun_write_failed`.
    pub tun_write_packets,
    /// Bytes of those.
    pub tun_write_bytes,
    /// Datagrams received, a train counted by its segments.
    pub udp_receive_datagrams,
    /// Receive operations; fewer than datagrams where the kernel coalesced (GRO).
    pub udp_receive_trains,
    /// Datagrams given to the socket. Those that it then refused are among the drops, as `send_failed`.
    pub udp_send_datagrams,
    /// Trains given to the socket; fewer than datagrams where several leave as one (GSO).
    pub udp_send_trains,
    /// Keepalives that were added to trains, so none ends in a segment as long as the others (`--udp-gso ragged`).
    /// They are among the datagrams.
    pub keepalive_tails,
    /// Handshake messages passed to control.
    pub handshakes,
    /// Trains handed to another worker.
    pub handoffs,
    /// ICMP errors for the TUN, about packets that no peer can have. Those that it then refused are among the drops, as
    /// `tun_write_failed`.
    pub icmp_sent,
    /// ICMP errors that were not sent, since there were too many already.
    pub icmp_suppressed,
    /// Packets that wait for a session now.
    pub staged,
    /// Turns of the loop; each is one `io_uring_enter` or a little more.
    pub turns,
    /// Reads of the TUN; fewer than packets where the kernel hands over super-packets.
    pub tun_reads,
    /// Multishot reads of the TUN that were begun: the first, and one for each that ended.
    pub tun_reads_begun,
    /// How often reading the TUN stood still because buffers ran out.
    pub tun_reads_starved,
    /// Other errors of reading the TUN, all of which pass.
    pub tun_read_errors,
    /// Writes to the TUN; fewer than packets where runs were merged.
    pub tun_writes,
    /// Of these, those in more than one piece.
    pub tun_writes_gathered,
    /// Of the writes, those from memory of another worker.
    pub tun_writes_unregistered,
    /// Writes that the TUN refused.
    pub tun_write_errors,
    /// Completions of the TUN for which nobody waited any more.
    pub tun_late_completions,
    /// Multishot receives that ended and were renewed.
    pub udp_receives_renewed,
    /// Of these, because buffers ran out.
    pub udp_receives_starved,
    /// Of these, with another error that passes.
    pub udp_receive_errors,
    /// Sends that were tried again without the source that the peer knows us by, because it was refused.
    pub udp_retries_without_source,
    /// Trains that the kernel refused to segment, and that left again as single datagrams.
    pub udp_retries_unsegmented,
    /// Trains that left as single datagrams without being tried whole.
    pub udp_trains_split,
    /// Completions of former sockets.
    pub udp_late_completions,
    /// `io_uring_enter` calls.
    pub ring_enters,
    /// Completions that were reaped.
    pub ring_completions,
    /// Extra `io_uring_enter` calls because the submission queue was full.
    pub ring_submission_full,
    /// Completions of operations that were not in flight: a bug, of ringfort or of the kernel.
    pub ring_unexpected_completions,
    /// Slots of packet memory that are free now.
    pub slots_free,
    /// Slots that the kernel has.
    pub slots_kernel,
    /// Slots in work.
    pub slots_held,
    /// All slots.
    pub slots_total,
}

impl WorkerStats {
    /// With a place for the times of the stages, so the worker, which runs on `core`, takes them in one of `every`
    /// turns.
    #[must_use]
    pub fn with_stages(core: usize, every: u32) -> Self {
        Self { stages: Some(Arc::new(StageTable::new(core, every))), ..Self::default() }
    }

    /// The times of the stages, if they are taken.
    #[must_use]
    pub fn stages(&self) -> Option<&Arc<StageTable>> {
        self.stages.as_ref()
    }

    /// How much was thrown away for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()].get()
    }

    /// Publishes what the parts of the worker count themselves. They are taken apart without `..`: a counter that is
    /// added to one of them does not compile until it is shown.
    pub(super) fn publish(
        &self,
        path: &ringfort_path::Counters,
        ring: RingCounters,
        slots: Accounting,
        tun: tun_uring::EdgeCounters,
        udp: udp_uring::EdgeCounters,
    ) {
        self.publish_path(path);
        let RingCounters { enters, completions, submission_full, unexpected } = ring;
        self.ring_enters.set(enters);
        self.ring_completions.set(completions);
        self.ring_submission_full.set(submission_full);
        self.ring_unexpected_completions.set(unexpected);
        let Accounting { free, kernel, held, total } = slots;
        self.slots_free.set(free as u64);
        self.slots_kernel.set(kernel as u64);
        self.slots_held.set(held as u64);
        self.slots_total.set(total as u64);
        self.publish_tun(tun);
        self.publish_udp(udp);
    }

    fn publish_path(&self, counters: &ringfort_path::Counters) {
        let &ringfort_path::Counters {
            tun_read_packets,
            tun_read_bytes,
            tun_write_packets,
            tun_write_bytes,
            udp_receive_datagrams,
            udp_receive_trains,
            udp_send_datagrams,
            udp_send_trains,
            keepalive_tails,
            handshakes,
            handoffs,
            icmp_sent,
            icmp_suppressed,
            ref drops,
        } = counters;
        self.tun_read_packets.set(tun_read_packets);
        self.tun_read_bytes.set(tun_read_bytes);
        self.tun_write_packets.set(tun_write_packets);
        self.tun_write_bytes.set(tun_write_bytes);
        self.udp_receive_datagrams.set(udp_receive_datagrams);
        self.udp_receive_trains.set(udp_receive_trains);
        self.udp_send_datagrams.set(udp_send_datagrams);
        self.udp_send_trains.set(udp_send_trains);
        self.keepalive_tails.set(keepalive_tails);
        self.handshakes.set(handshakes);
        self.handoffs.set(handoffs);
        self.icmp_sent.set(icmp_sent);
        self.icmp_suppressed.set(icmp_suppressed);
        for (count, (_, n)) in self.drops.iter().zip(drops.iter()) {
            count.set(n);
        }
    }

    fn publish_tun(&self, counters: tun_uring::EdgeCounters) {
        let tun_uring::EdgeCounters {
            reads,
            reads_begun,
            reads_starved,
            read_errors,
            writes,
            writes_gathered,
            writes_unregistered,
            write_errors,
            late_completions,
        } = counters;
        self.tun_reads.set(reads);
        self.tun_reads_begun.set(reads_begun);
        self.tun_reads_starved.set(reads_starved);
        self.tun_read_errors.set(read_errors);
        self.tun_writes.set(writes);
        self.tun_writes_gathered.set(writes_gathered);
        self.tun_writes_unregistered.set(writes_unregistered);
        self.tun_write_errors.set(write_errors);
        self.tun_late_completions.set(late_completions);
    }

    fn publish_udp(&self, counters: udp_uring::EdgeCounters) {
        let udp_uring::EdgeCounters {
            receives_renewed,
            receives_starved,
            receive_errors,
            retries_without_source,
            retries_unsegmented,
            trains_split,
            late_completions,
        } = counters;
        self.udp_receives_renewed.set(receives_renewed);
        self.udp_receives_starved.set(receives_starved);
        self.udp_receive_errors.set(receive_errors);
        self.udp_retries_without_source.set(retries_without_source);
        self.udp_retries_unsegmented.set(retries_unsegmented);
        self.udp_trains_split.set(trains_split);
        self.udp_late_completions.set(late_completions);
    }
}

#[cfg(test)]
mod tests {
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
        let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut text = String::new();
        source_of(&engine.join("src"), &mut text);
        source_of(&engine.join("core/src"), &mut text);
        source_of(&engine.join("path/src"), &mut text);
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
            udp_receive_trains: 46,
            udp_send_datagrams: 47,
            udp_send_trains: 48,
            keepalive_tails: 49,
            handshakes: 50,
            handoffs: 51,
            icmp_sent: 52,
            icmp_suppressed: 53,
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
        let counted = (1..=7).chain([15]).chain(21..=29).chain(31..=37).chain(41..=53);
        assert!(counted.clone().all(|n| shown.iter().filter(|&&s| s == n).count() == 1), "{shown:?}");
        assert_eq!(shown.len(), counted.count());
    }
}
