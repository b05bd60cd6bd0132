//! What a datagram is: [`classify`] and [`parse_data_header`] against the paper's table of types and lengths, and the
//! markers of the cipher suites in an initiation's reserved bytes.
//!
//! The input is the datagram.

use ringfort_core::drops::DropReason;
use ringfort_core::wire::{
    CookieReply, DATA_HEADER_LEN, HandshakeInitiation, HandshakeResponse, Message, classify, parse_data_header,
    write_data_header,
};
use zerocopy::{Immutable, IntoBytes};

use crate::Seed;

pub(super) fn run(datagram: &[u8]) {
    let expected = table(datagram);
    match (classify(datagram), expected) {
        (Err(reason), Err(expected)) => assert_eq!(reason, expected),
        (Ok(Message::Initiation(suite, message)), Ok(1)) => {
            same_bytes::<HandshakeInitiation>(message, datagram);
            assert_eq!(suite.marker(), datagram[1..4]);
        }
        (Ok(Message::Response(message)), Ok(2)) => same_bytes::<HandshakeResponse>(message, datagram),
        (Ok(Message::CookieReply(message)), Ok(3)) => same_bytes::<CookieReply>(message, datagram),
        (Ok(Message::Data(header)), Ok(4)) => {
            assert_eq!(parse_data_header(datagram), Ok(header), "two readers of one header");
            let mut written = [0xee; DATA_HEADER_LEN];
            write_data_header(&mut written, header.receiver, header.counter);
            assert_eq!(written, datagram[..DATA_HEADER_LEN], "a header comes back as it was");
        }
        (got, expected) => panic!("{got:?} is not {expected:?}"),
    }
    match expected {
        Ok(4) => {}
        Ok(_) => assert_eq!(parse_data_header(datagram), Err(DropReason::UnknownType)),
        Err(reason) => assert!(parse_data_header(datagram).is_err(), "{reason:?}"),
    }
}

/// Sections 5.4.2 to 5.4.7, and our own marker: the type, or why there is none.
fn table(datagram: &[u8]) -> Result<u8, DropReason> {
    let Some(&[kind, reserved @ ..]) = datagram.first_chunk::<4>() else { return Err(DropReason::Runt) };
    let len = datagram.len();
    let marked = kind == 1 && reserved == *b"GCM";
    match kind {
        0 | 5.. => Err(DropReason::UnknownType),
        _ if reserved != [0; 3] && !marked => Err(DropReason::BadReserved),
        1 if len != 148 => Err(DropReason::BadLength),
        2 if len != 92 => Err(DropReason::BadLength),
        3 if len != 64 => Err(DropReason::BadLength),
        4 if len < 32 => Err(DropReason::BadLength),
        _ => Ok(kind),
    }
}

fn same_bytes<T: IntoBytes + Immutable>(message: &T, datagram: &[u8]) {
    assert_eq!(message.as_bytes(), datagram, "a message is all of its datagram");
}

pub(super) fn seeds() -> Vec<Seed> {
    let message = |kind: u8, len: usize| {
        let mut bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    };
    vec![
        Seed::new("initiation", message(1, 148)),
        Seed::new("initiation-marked", [b"\x01GCM", &message(1, 148)[4..]].concat()),
        Seed::new("response-marked", [b"\x02GCM", &message(2, 92)[4..]].concat()),
        Seed::new("response", message(2, 92)),
        Seed::new("cookie-reply", message(3, 64)),
        Seed::new("keepalive", message(4, 32)),
        Seed::new("data", message(4, 80)),
        Seed::new("data-too-short", message(4, 31)),
        Seed::new("runt", vec![1, 0, 0]),
        Seed::new("empty", vec![]),
    ]
}
