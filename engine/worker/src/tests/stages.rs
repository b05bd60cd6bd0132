//! The times of the stages: each train is in each stage of its way once, and nothing is taken that nobody asked for.

use super::*;

/// Segments of the super-packet, and packets of the train.
const PACKETS: u8 = 11;
const PAYLOAD_LEN: usize = 1000;

fn with_stages() -> (Fixture, Arc<StageTable>) {
    let f = Fixture::counting(vec![WorkerStats::with_stages(7, 1)], Offloads::ALL, Duration::ZERO);
    let table = f.stats[0].stages().unwrap().clone();
    (f, table)
}

fn counts<const N: usize>(table: &StageTable, stages: [Stage; N]) -> [u64; N] {
    stages.map(|stage| table.of(stage).count())
}

fn segment_at(socket: &UdpSocket, len: usize) {
    let len = i32::try_from(len).unwrap();
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::UdpGsoSegment, &len).unwrap();
}

fn send_super(f: &Fixture) {
    segment_at(&f.inner, PAYLOAD_LEN);
    f.inner.send_to(&[7; PAYLOAD_LEN * PACKETS as usize], "10.9.0.2:9").unwrap();
    for _ in 0..PACKETS {
        f.receive();
    }
}

fn receive_train(f: &mut Fixture) {
    let mut train = Vec::new();
    for n in 0..PACKETS {
        train.extend(f.seal(0, &with_checksum(inner_packet([10, 9, 0, 2], &[n; PAYLOAD_LEN]))));
    }
    segment_at(&f.outer, train.len() / usize::from(PACKETS));
    f.send_raw(&train);
    for _ in 0..PACKETS {
        f.receive_inner(&mut [0; 2000]);
    }
}

#[test]
fn a_super_packet_passes_each_stage_on_its_way_out_once() {
    const WAY: [Stage; 6] =
        [Stage::TunRead, Stage::Route, Stage::Segment, Stage::Seal, Stage::Transmit, Stage::UdpSend];
    in_namespace(|| {
        let (f, table) = with_stages();
        f.install_send(0, false);
        for trains in 1..=3 {
            send_super(&f);
            f.eventually(|| f.stats[0].udp_send_trains.get() == trains && counts(&table, WAY) == [trains; 6]);
        }
        let way_in = [Stage::UdpReceive, Stage::Classify, Stage::Open, Stage::Check, Stage::Coalesce, Stage::TunWrite];
        assert_eq!(counts(&table, way_in), [0; 6], "nothing came in");
        f.finish();
    });
}

#[test]
fn the_packets_of_a_turn_are_routed_and_sealed_together() {
    in_namespace(|| {
        let (f, table) = with_stages();
        // They wait for a key, and leave in one turn, when mail brings it.
        for n in 0..20u8 {
            f.inner.send_to(&[n; 100], "10.9.0.2:9").unwrap();
        }
        f.eventually(|| f.stats[0].staged.get() == 20);
        f.install_send(0, false);
        for _ in 0..20 {
            f.receive();
        }
        let stages = [Stage::Route, Stage::Segment, Stage::Seal, Stage::Transmit, Stage::UdpSend];
        f.eventually(|| counts(&table, stages) == [1, 0, 1, 1, 1]);
        f.finish();
    });
}

#[test]
fn a_train_passes_each_stage_on_its_way_in_once() {
    in_namespace(|| {
        let (mut f, table) = with_stages();
        f.install_receive(0, true);
        for _ in 0..3 {
            receive_train(&mut f);
        }
        // The packets arrive here before the worker publishes that it has received them: at the end of its turn.
        let stats = &f.stats[0];
        let trains = || stats.udp_receive_trains.get();
        let all_came = || stats.udp_receive_datagrams.get() == 3 * u64::from(PACKETS);
        let stages = [Stage::Classify, Stage::Open, Stage::Check];
        f.eventually(|| all_came() && counts(&table, stages) == [trains(); 3]);
        f.eventually(|| (1..=trains()).contains(&table.of(Stage::TunWrite).count()));
        let receives = table.of(Stage::UdpReceive).count();
        assert!((1..=trains()).contains(&receives), "{receives} of {} trains", trains());
        let way_out = [Stage::TunRead, Stage::Route, Stage::Segment, Stage::Seal, Stage::Transmit, Stage::UdpSend];
        assert_eq!(counts(&table, way_out), [0; 6], "nothing went out");
        f.finish();
    });
}

#[test]
fn the_stages_together_are_the_time_that_the_worker_has_run() {
    in_namespace(|| {
        let before = Instant::now();
        let (mut f, table) = with_stages();
        let started = Instant::now();
        f.install_send(0, false);
        f.install_receive(0, true);
        send_super(&f);
        receive_train(&mut f);
        let ended = Instant::now();
        // Sleeping counts when it ends.
        f.queues.workers[0].push_order(Order::Mtu(1420));
        let total = || Duration::from_nanos(Stage::ALL.iter().map(|&stage| table.of(stage).total_ns()).sum());
        f.eventually(|| total() >= ended - started);
        assert!(total() <= before.elapsed());
        assert!(table.of(Stage::Wait).count() > 0);
        f.finish();
    });
}

#[test]
fn a_worker_that_polls_enters_the_ring_without_waiting() {
    in_namespace(|| {
        let f = Fixture::counting(vec![WorkerStats::with_stages(7, 1)], Offloads::ALL, Duration::MAX);
        let table = f.stats[0].stages().unwrap().clone();
        f.eventually(|| table.of(Stage::Enter).count() > 1000);
        assert_eq!(table.of(Stage::Wait).count(), 0);
        f.finish();
    });
}

#[test]
fn nothing_is_taken_unless_asked_for() {
    in_namespace(|| {
        let mut f = Fixture::new(1);
        f.install_send(0, false);
        f.install_receive(0, true);
        send_super(&f);
        receive_train(&mut f);
        assert!(f.stats[0].stages().is_none());
        f.finish();
    });
}
