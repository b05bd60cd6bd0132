//! Flows that change hands: answers leave through the worker that receives, and what turns into an upload is spread
//! again.

use tun_uring::Bucket;

use super::*;

/// Of two workers, the one that receives, and how many flows usually leave through the other one.
const HOME: usize = 1;
const AWAY_FLOWS: usize = 4;
/// Datagrams in a train, and trains of one flow that arrive at once; the application answers them with a datagram.
const TRAIN: usize = 40;
const TRAINS: usize = 3;
/// The peer's port.
const FAR_PORT: u16 = 4096;
/// Turns are short, so this is only reached if it does not happen at all.
const ROUNDS: u32 = 500;

struct Flow {
    socket: UdpSocket,
    sent: u32,
    /// What the peer expects next.
    next: u32,
}

impl Flow {
    fn new() -> Self {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(1 << 20)).unwrap();
        Self { socket, sent: 0, next: 0 }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// A packet of the download.
    fn packet(&self) -> Vec<u8> {
        let mut packet = inner_packet([10, 9, 0, 2], &[0; 1200]);
        packet[20..22].copy_from_slice(&FAR_PORT.to_be_bytes());
        packet[22..24].copy_from_slice(&self.port().to_be_bytes());
        packet
    }

    fn bucket(&self, f: &Fixture) -> Bucket {
        f.flows.as_ref().expect("two queues are steered").table.bucket(&self.packet()).unwrap()
    }

    fn is_usually_away(&self, f: &Fixture) -> bool {
        self.bucket(f).index() % 2 != HOME
    }

    fn send(&mut self) {
        self.socket.send_to(&self.sent.to_be_bytes(), ("10.9.0.2", FAR_PORT)).unwrap();
        self.sent += 1;
    }

    /// Trains for this flow come in, all of them together, so the worker sees them in one look.
    fn download(&self, f: &mut Fixture, local_index: u32) {
        let packet = self.packet();
        let trains: Vec<Vec<u8>> =
            (0..TRAINS).map(|_| (0..TRAIN).flat_map(|_| f.seal(local_index, &packet)).collect()).collect();
        let stride = i32::try_from(trains[0].len() / TRAIN).unwrap();
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::UdpGsoSegment, &stride).unwrap();
        trains.iter().for_each(|train| f.send_raw(train));
        for _ in 0..TRAINS * TRAIN {
            uninterrupted(|| self.socket.recv(&mut [0; 1300])).expect("a datagram of the download");
        }
    }
}

/// The peer gets a datagram of each flow, and those of each flow in order.
fn arrive(f: &Fixture, flows: &mut [Flow]) {
    for _ in 0..flows.len() {
        let (_, packet) = f.receive();
        let port = u16::from_be_bytes(packet[20..22].try_into().unwrap());
        let number = u32::from_be_bytes(packet[28..32].try_into().unwrap());
        let flow = flows.iter_mut().find(|flow| flow.port() == port).expect("one of the flows");
        assert_eq!(number, flow.next, "the flow of port {port} is out of order");
        flow.next += 1;
    }
}

/// What the other worker has sent so far.
fn sent_away(f: &Fixture) -> u64 {
    f.stats[1 - HOME].udp_send_datagrams.get()
}

#[test]
fn answers_to_a_download_go_by_the_worker_that_receives_and_an_upload_by_all() {
    in_namespace(|| {
        let mut f = Fixture::new(2);
        nix::sys::socket::setsockopt(&f.outer, nix::sys::socket::sockopt::RcvBufForce, &(16 << 20)).unwrap();
        f.install_send(HOME as u32, false);
        f.install_receive(HOME as u32, true);
        let mut flows = Vec::new();
        while flows.iter().filter(|flow: &&Flow| flow.is_usually_away(&f)).count() < AWAY_FLOWS {
            flows.push(Flow::new());
        }

        let mut quiet = 0;
        for round in 0.. {
            assert!(round < ROUNDS, "the other worker still answers: {:?}", f.stats);
            let before = sent_away(&f);
            for flow in &mut flows {
                flow.download(&mut f, HOME as u32);
                flow.send();
            }
            arrive(&f, &mut flows);
            quiet = if sent_away(&f) == before { quiet + 1 } else { 0 };
            if quiet == 5 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }

        let before = sent_away(&f);
        for round in 0.. {
            assert!(round < ROUNDS, "all of the upload goes by one worker: {:?}", f.stats);
            flows.iter_mut().for_each(Flow::send);
            arrive(&f, &mut flows);
            if sent_away(&f) >= before + 100 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        f.finish();
    });
}

/// A bucket moves although answers wait for a key, and then nobody has anything to do.
#[test]
fn a_worker_whose_packets_wait_for_a_key_sleeps() {
    in_namespace(|| {
        let mut f = Fixture::new(2);
        f.install_receive(HOME as u32, true);
        let mut flow = Flow::new();
        while !flow.is_usually_away(&f) {
            flow = Flow::new();
        }
        let flows = f.flows.clone().expect("two queues are steered").table;
        let mut rounds = 0;
        while flows.place(flow.bucket(&f)) != HOME {
            flow.download(&mut f, HOME as u32);
            flow.send();
            rounds += 1;
            assert!(rounds < ROUNDS, "it stays where it was: {:?}", f.stats);
            std::thread::sleep(Duration::from_millis(20));
        }
        let staged = || f.stats.iter().map(|stats| stats.staged.get()).sum::<u64>();
        f.eventually(|| staged() == u64::from(rounds));
        let turns = || f.stats.iter().map(|stats| stats.turns.get()).sum::<u64>();
        let before = turns();
        std::thread::sleep(Duration::from_millis(300));
        let spent = turns() - before;
        assert!(spent <= 10, "{spent} turns without anything to do");
        f.queues.workers.iter().for_each(|inbox| inbox.push_order(Order::DropStaged { peer: PEER }));
        f.finish();
    });
}
