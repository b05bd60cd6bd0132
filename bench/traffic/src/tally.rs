//! From what the threads of some lanes counted to what is reported.

use crate::crew::Done;
use crate::outcome::OFFERED_SHARE_MIN;
use crate::receiver::{Arrivals, Slice};
use crate::reflector::Reflection;
use crate::schedule::{Schedule, slice};
use crate::sender::Sending;
use crate::{Histogram, Interval, Load, Traffic};

/// What the threads of a lane gave.
pub(crate) struct LaneResult {
    pub(crate) sending: Done<Sending>,
    pub(crate) arrivals: Done<Arrivals>,
    pub(crate) reflection: Option<Done<Reflection>>,
}

/// Sums over lanes.
#[derive(Default)]
pub(crate) struct Tally {
    sums: Traffic,
    errno: Option<i32>,
    latency: Histogram,
    lateness: Histogram,
    sender_cpu_ns: u64,
    receiver_cpu_ns: u64,
    /// Of the sender that took longest.
    sending_ns: u64,
    slices: Vec<Slice>,
}

impl Tally {
    /// Adds a lane.
    pub(crate) fn add(&mut self, schedule: &Schedule, result: &LaneResult) {
        let (sending, arrivals) = (&result.sending.value, &result.arrivals.value);
        let sums = &mut self.sums;
        sums.planned += u64::from(schedule.planned);
        sums.sent += sending.sent;
        sums.refused += sending.refused;
        sums.skipped += sending.skipped;
        sums.received += arrivals.received;
        sums.duplicated += arrivals.duplicated;
        sums.reordered += arrivals.reordered;
        sums.damaged += arrivals.damaged;
        sums.foreign += arrivals.foreign;
        let distance = u64::from(arrivals.distance_max);
        sums.reordering_distance_packets_max = sums.reordering_distance_packets_max.max(distance);
        self.errno = self.errno.or(sending.errno);
        self.latency.merge(&arrivals.latency);
        self.lateness.merge(&sending.lateness);
        self.sending_ns = self.sending_ns.max(sending.took_ns);
        self.slices.resize(arrivals.slices.len().max(self.slices.len()), Slice::default());
        for (sum, slice) in self.slices.iter_mut().zip(&arrivals.slices) {
            sum.received += slice.received;
            sum.latency_ns_sum = sum.latency_ns_sum.saturating_add(slice.latency_ns_sum);
            sum.latency_ns_max = sum.latency_ns_max.max(slice.latency_ns_max);
        }
        self.sender_cpu_ns += result.sending.cpu_ns;
        self.receiver_cpu_ns += result.arrivals.cpu_ns;
        if let Some(reflection) = &result.reflection {
            sums.foreign += reflection.value.foreign;
            self.receiver_cpu_ns += reflection.cpu_ns;
        }
    }

    /// What is reported of that many directions of a load.
    pub(crate) fn traffic(self, load: &Load, directions: u64) -> Traffic {
        let duration_s = load.duration.as_secs_f64();
        let per_second = |count: u64| count as f64 / duration_s;
        let percent = |cpu_ns: u64| cpu_ns as f64 / 1e7 / duration_s;
        let Traffic { sent, received, planned, .. } = self.sums;
        // A straggler may have been counted as refused where only a part of a train was taken.
        let lost = sent.saturating_sub(received);
        Traffic {
            asked_pps: (load.rate_pps * directions) as f64,
            offered_pps: per_second(sent),
            delivered_pps: per_second(received),
            delivered_mbit_per_s: per_second(received) * load.size.packet_bytes_mean() * 8.0 / 1e6,
            generator_limited: (sent as f64) < planned as f64 * OFFERED_SHARE_MIN,
            duration_s,
            sending_s: self.sending_ns as f64 / 1e9,
            interval_s: slice(load.duration).as_secs_f64(),
            intervals: self.slices.iter().map(interval).collect(),
            refusal: self.errno.map(|errno| std::io::Error::from_raw_os_error(errno).to_string()),
            lost,
            loss_ratio: if sent == 0 { 0.0 } else { lost as f64 / sent as f64 },
            latency_ns: self.latency.summary(),
            lateness_ns: self.lateness.summary(),
            sender_cpu_percent: percent(self.sender_cpu_ns),
            receiver_cpu_percent: percent(self.receiver_cpu_ns),
            ..self.sums
        }
    }
}

fn interval(slice: &Slice) -> Interval {
    let Slice { received, latency_ns_sum, latency_ns_max } = *slice;
    Interval { received, latency_ns_mean: latency_ns_sum.checked_div(received).unwrap_or(0), latency_ns_max }
}
