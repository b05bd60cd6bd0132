//! What stands at the front of a train, as far as it is of one kind.

use ringfort_core::drops::DropReason;
use ringfort_core::wire::{TYPE_DATA, classify, parse_data_header};

use super::Counters;

/// The front of a train.
pub(super) enum Front {
    /// Data messages under one receiver index, with their counters in the scratch space.
    Data { receiver: u32, segments: usize },
    /// One message for control.
    Handshake,
    /// One datagram to be dropped.
    Bad(DropReason),
}

pub(super) fn front(train: &[u8], stride: usize, counters: &mut Counters) -> Front {
    let mut datagrams = train.chunks(stride);
    let first = datagrams.next().unwrap_or_default();
    if first.first() != Some(&TYPE_DATA) {
        return match classify(first) {
            Ok(_) => Front::Handshake,
            Err(reason) => Front::Bad(reason),
        };
    }
    let header = match parse_data_header(first) {
        Ok(header) => header,
        Err(reason) => return Front::Bad(reason),
    };
    counters[0] = header.counter;
    let mut segments = 1;
    for (datagram, counter) in datagrams.zip(&mut counters[1..]) {
        match parse_data_header(datagram) {
            Ok(next) if next.receiver == header.receiver => *counter = next.counter,
            _ => break,
        }
        segments += 1;
    }
    Front::Data { receiver: header.receiver, segments }
}
