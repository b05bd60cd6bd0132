//! The work of a data path.

use std::sync::Arc;

use ring_buffers::View;
use ringfort_path::budget::line;
use ringfort_path::tap::{CAPACITY_MIN, Filter, Side, TapReader, tap};
use ringfort_path::{DataPath, Order, Outcome, Train, Transmit, bare};

use crate::cases::{Case, ROUNDS, Way};
use crate::rig::{NOW, Rig, SENDER, filled, received};

pub(crate) fn run(case: &Case) {
    let Rig { mut sender, mut receiver } = Rig::new();
    let mut sent = Vec::with_capacity(64);
    let mut pieces = Vec::with_capacity(64);
    let mut readers = Vec::new();
    if case.is_seen {
        readers.extend([&mut sender, &mut receiver].map(look));
    }
    let mut bytes = Vec::new();
    let reads = case.reads();
    for round in 1..=ROUNDS {
        let mut batch: Vec<View> = reads.iter().map(|read| filled(&sender, line::TUN_READS, read)).collect();
        match case.way {
            Way::Out => measured_out(&mut sender, &mut batch, &mut sent),
            Way::In => {
                bare::turn_out(&mut sender, NOW, &mut batch, &mut sent);
                let trains = sent.drain(..).flat_map(|transmit| received(&transmit, case.is_cut));
                let mut trains: Vec<Train> = trains
                    .map(|(stride, datagrams)| Train {
                        view: filled(&receiver, line::UDP_READS, &datagrams),
                        stride,
                        endpoint: SENDER.endpoint(),
                        ecn: 0,
                        handed: false,
                    })
                    .collect();
                measured_in(&mut receiver, &mut trains, &mut pieces);
            }
        }
        let (out, into) = (sender.counters().udp_send_datagrams, receiver.counters().tun_write_packets);
        let done = if matches!(case.way, Way::Out) { out } else { into };
        assert_eq!(done, u64::from(round) * case.packets() as u64, "all packets get through");
        for reader in &mut readers {
            while reader.next(&mut bytes).is_some() {}
            let lost = Side::ALL.map(|side| reader.counts().lost(side));
            assert_eq!(lost, [0, 0], "there is room for all of them");
        }
    }
}

/// Has a data path show all of each packet.
fn look(path: &mut DataPath) -> TapReader {
    let (tap, reader) =
        tap(Arc::new(Filter::default()), CAPACITY_MIN, Arc::new(|| {})).expect("its memory can be kept out of dumps");
    assert_eq!(path.handle_order(NOW, Order::Tap(Some(tap))), Outcome::Done);
    reader
}

/// The slots go home as well.
#[inline(never)]
fn measured_out(path: &mut DataPath, batch: &mut Vec<View>, sent: &mut Vec<Transmit>) {
    bare::turn_out(path, NOW, batch, sent);
    sent.clear();
}

#[inline(never)]
fn measured_in(path: &mut DataPath, trains: &mut Vec<Train>, pieces: &mut Vec<View>) {
    bare::turn_in(path, NOW, trains, pieces);
}
