//! What a worker counts. Each counter has one writer and any number of readers, so adding is a load and a store,
//! as cheap as a plain integer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Duration;

use nix::time::ClockId;
use ring_buffers::{Accounting, RingCounters};
use ringfort_core::drops::DropReason;
use ringfort_path::TrainLengths;

use super::counter::Counter;
use super::stage_table::StageTable;

/// How a figure behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
}

/// What a figure is, and how it is shown among the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name in `--stats`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The family of metrics that it is in, without the prefix of the program and without the suffix of its kind.
    pub family: &'static str,
    /// What tells it from the others of its family.
    pub label: Option<(&'static str, &'static str)>,
    /// The labels of the family.
    pub labels: &'static [&'static str],
    /// What it counts, in a sentence. Of a family the first figure's counts.
    pub help: &'static str,
}

/// What was dropped before a worker could see it, by reason.
struct Outside(Box<dyn Fn(DropReason) -> u64 + Send + Sync>);

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

/// Defines [`WorkerStats`] and its figures from one table, so nothing is counted that is not shown: a row without a
/// kind or without a description does not compile.
macro_rules! figures {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ident $($family:ident $({ $label:ident: $value:literal })?)?,
    )+) => {
        /// One worker's counters and gauges.
        #[derive(Debug)]
        pub struct WorkerStats {
            $($(#[doc = $doc])+ pub $name: Counter,)+
            send_trains: [Counter; TrainLengths::BUCKETS],
            receive_trains: [Counter; TrainLengths::BUCKETS],
            drops: [Counter; DropReason::COUNT],
            stages: Option<Arc<StageTable>>,
            outside: Option<Outside>,
            thread: AtomicI32,
        }

        impl Default for WorkerStats {
            fn default() -> Self {
                Self {
                    $($name: Counter::default(),)+
                    send_trains: Default::default(),
                    receive_trains: Default::default(),
                    drops: std::array::from_fn(|_| Counter::default()),
                    stages: None,
                    outside: None,
                    thread: AtomicI32::new(0),
                }
            }
        }

        impl WorkerStats {
            /// What the figures are, in the order of [`WorkerStats::figures`].
            pub const TABLE: [Figure; Self::FIGURES] = [$(
                Figure {
                    name: stringify!($name),
                    kind: Kind::$kind,
                    family: figures!(@family $name $($family)?),
                    label: figures!(@label $($($label $value)?)?),
                    labels: &["worker" $($(, stringify!($label))?)?],
                    help: concat!($($doc),+),
                },
            )+];

            /// How many figures there are.
            pub const FIGURES: usize = [$(stringify!($name)),+].len();

            /// Every figure but the drops, by name.
            #[must_use]
            pub fn figures(&self) -> [(&'static str, u64); Self::FIGURES] {
                [$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
    (@family $name:ident) => { stringify!($name) };
    (@family $name:ident $family:ident) => { stringify!($family) };
    (@label) => { None };
    (@label $label:ident $value:literal) => { Some((stringify!($label), $value)) };
}

figures! {
    /// Packets read from the TUN interface, a super-packet counted by its segments.
    tun_read_packets: Counter,
    /// Bytes of the packets read from the TUN interface, IP headers included.
    tun_read_bytes: Counter,
    /// Packets for the TUN interface. Those that it then refused are among the drops, as tun_write_failed.
    tun_write_packets: Counter,
    /// Bytes of the packets for the TUN interface, IP headers included.
    tun_write_bytes: Counter,
    /// Datagrams received, a train counted by its segments.
    udp_receive_datagrams: Counter,
    /// Receive operations; fewer than datagrams where the kernel coalesced (GRO).
    udp_receive_trains: Counter,
    /// Datagrams that left. Those that the kernel refused are among the drops, as send_failed.
    udp_send_datagrams: Counter,
    /// Trains that left; fewer than datagrams where several leave as one (GSO).
    udp_send_trains: Counter,
    /// Keepalives added to trains, so none ends in a segment as long as the others (--udp-gso ragged). They are among
    /// the datagrams.
    keepalive_tails: Counter,
    /// Handshake messages passed to control.
    handshakes: Counter handshake_messages_received,
    /// Cookies for senders of handshake messages that had none under load.
    cookies_sent: Counter,
    /// Trains handed to another worker.
    handoffs: Counter,
    /// ICMP errors for the TUN interface, about packets that no peer can have. Those that it then refused are among the
    /// drops, as tun_write_failed.
    icmp_sent: Counter,
    /// ICMP errors that were not sent, since there were too many already.
    icmp_suppressed: Counter,
    /// Packets that wait for a session now.
    staged: Gauge staged_packets,
    /// Busy buckets of flows that were given to another worker, as this one's core was full.
    flow_buckets_moved: Counter,
    /// How busy the worker's core was when it last had much to do, by whatever ran there, in thousandths of its time.
    core_busy_thousandths: Gauge,
    /// Turns of the worker's loop; each is one io_uring_enter or a little more.
    turns: Counter,
    /// Reads of the TUN interface; fewer than packets where the kernel hands over super-packets.
    tun_reads: Counter,
    /// Multishot reads of the TUN interface that were begun: the first, and one for each that ended.
    tun_reads_begun: Counter,
    /// How often reading the TUN interface stood still because buffers ran out.
    tun_reads_starved: Counter,
    /// Errors of reading the TUN interface, all of which pass.
    tun_read_errors: Counter,
    /// Writes to the TUN interface; fewer than packets where runs were merged.
    tun_writes: Counter,
    /// Writes to the TUN interface in more than one piece.
    tun_writes_gathered: Counter,
    /// Writes to the TUN interface from memory of another worker.
    tun_writes_unregistered: Counter,
    /// Writes that the TUN interface refused.
    tun_write_errors: Counter,
    /// Completions of the TUN interface for which nobody waited any more.
    tun_late_completions: Counter,
    /// Multishot receives that ended and were renewed.
    udp_receives_renewed: Counter,
    /// Multishot receives that ended because buffers ran out.
    udp_receives_starved: Counter,
    /// Multishot receives that ended with an error that passes.
    udp_receive_errors: Counter,
    /// Sends that were tried again without the source that the peer knows us by, because it was refused.
    udp_retries_without_source: Counter,
    /// Trains that the kernel refused to segment, and that left again as single datagrams.
    udp_retries_unsegmented: Counter,
    /// Trains that left as single datagrams without being tried whole.
    udp_trains_split: Counter,
    /// Completions of former sockets.
    udp_late_completions: Counter,
    /// Calls of io_uring_enter.
    ring_enters: Counter,
    /// Completions that were reaped from the ring.
    ring_completions: Counter,
    /// Calls of io_uring_enter that were made because the submission queue was full.
    ring_submission_full: Counter,
    /// Completions of operations that were not in flight: a bug, of ringfort or of the kernel.
    ring_unexpected_completions: Counter,
    /// Operations that are in the ring at the end of a turn, by what they do. The rest are reads that wait.
    ring_operations: Gauge ring_operations { operation: "all" },
    /// Sends that are in flight at the end of a turn.
    udp_sends_in_flight: Gauge ring_operations { operation: "udp_send" },
    /// Slots of packet memory, by who has them. They are free, with the kernel, or held in work.
    slots_free: Gauge slots { state: "free" },
    /// Slots that the kernel has.
    slots_kernel: Gauge slots { state: "kernel" },
    /// Slots in work.
    slots_held: Gauge slots { state: "held" },
    /// Slots of packet memory in all.
    slots_total: Gauge arena_slots,
}

impl WorkerStats {
    /// With a place for the times of the stages, so the worker, which runs on `core`, takes them in one of `every`
    /// turns.
    #[must_use]
    pub fn with_stages(core: usize, every: u32) -> Self {
        Self { stages: Some(Arc::new(StageTable::new(core, every))), ..Self::default() }
    }

    /// With what is dropped in front of the sockets of this worker.
    #[must_use]
    pub fn with_outside(self, dropped: impl Fn(DropReason) -> u64 + Send + Sync + 'static) -> Self {
        Self { outside: Some(Outside(Box::new(dropped))), ..self }
    }

    /// The times of the stages, if they are taken.
    #[must_use]
    pub fn stages(&self) -> Option<&Arc<StageTable>> {
        self.stages.as_ref()
    }

    /// How much was thrown away for one reason, by the worker and in front of its sockets.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let outside = self.outside.as_ref().map_or(0, |Outside(dropped)| dropped(reason));
        self.drops[reason.index()].get() + outside
    }

    /// Trains that left, by length.
    #[must_use]
    pub fn send_trains(&self) -> TrainLengths {
        TrainLengths::from(std::array::from_fn(|bucket| self.send_trains[bucket].get()))
    }

    /// Trains received, by length.
    #[must_use]
    pub fn receive_trains(&self) -> TrainLengths {
        TrainLengths::from(std::array::from_fn(|bucket| self.receive_trains[bucket].get()))
    }

    /// The calling thread is the worker that counts here.
    pub(super) fn note_thread(&self) {
        self.thread.store(nix::unistd::gettid().as_raw(), Relaxed);
    }

    /// CPU time that the worker has used so far. `None` before it runs, and once it has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        thread_cpu_time(self.thread.load(Relaxed))
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
            cookies_sent,
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
        self.udp_receive_trains.set(udp_receive_trains.total());
        self.udp_send_datagrams.set(udp_send_datagrams);
        self.udp_send_trains.set(udp_send_trains.total());
        self.keepalive_tails.set(keepalive_tails);
        self.handshakes.set(handshakes);
        self.cookies_sent.set(cookies_sent);
        self.handoffs.set(handoffs);
        self.icmp_sent.set(icmp_sent);
        self.icmp_suppressed.set(icmp_suppressed);
        publish_lengths(&self.receive_trains, &udp_receive_trains);
        publish_lengths(&self.send_trains, &udp_send_trains);
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

fn publish_lengths(counters: &[Counter; TrainLengths::BUCKETS], lengths: &TrainLengths) {
    for (counter, &n) in counters.iter().zip(lengths.counts()) {
        counter.set(n);
    }
}

/// CPU time of a thread of this process, by its number (`gettid`); any thread may ask. The kernel names the clock by
/// the number (`CPUCLOCK_PERTHREAD` and `CPUCLOCK_SCHED` in `include/linux/posix-timers.h`), as `clock_getcpuclockid`
/// does for processes.
pub fn thread_cpu_time(thread: i32) -> Option<Duration> {
    /// A clock of one thread (4), which counts what the scheduler gave it (2).
    const OF_A_THREAD: i32 = 4 | 2;
    if thread <= 0 {
        return None;
    }
    let clock = ClockId::from_raw((!thread << 3) | OF_A_THREAD);
    clock.now().ok().map(Duration::from)
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
