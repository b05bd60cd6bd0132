//! The order of a flow, whatever its packets look like.

use super::*;

/// `packet` with IPv4 options, or IPv6 extension headers, between the IP header and what follows it: `first` is the
/// number of the first of these headers, and each of them says what comes behind it.
fn with_headers(packet: &[u8], first: u8, headers: &[u8]) -> Vec<u8> {
    let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let mut bytes = [&packet[..ip_len], headers, &packet[ip_len..]].concat();
    if ip_len == 20 {
        bytes[0] += headers.len() as u8 / 4;
        bytes[2..4].copy_from_slice(&(packet.len() as u16 + headers.len() as u16).to_be_bytes());
    } else {
        bytes[4..6].copy_from_slice(&((packet.len() - 40 + headers.len()) as u16).to_be_bytes());
        bytes[6] = first;
    }
    bytes
}

/// Packets of the same flow that cannot be merged, each with its name.
fn what_cannot_be_merged(packet: &Packet) -> Vec<(&'static str, Vec<u8>)> {
    let (bytes, protocol) = (packet.bytes(), if packet.kind.is_tcp() { 6 } else { 17 });
    let patched = |at: usize, patch: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    let transport = if packet.kind.is_ipv4() { 20 } else { 40 };
    let mut all = if packet.kind.is_ipv4() {
        vec![
            ("first fragment", patched(6, &[0x20, 0])),
            ("later fragment", patched(6, &[0x00, 0xb9])),
            ("reserved bit", patched(6, &[0x80, 0])),
            ("options", with_headers(&bytes, 0, &[1; 4])),
        ]
    } else {
        let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        let many = [[60, 0, 1, 4, 0, 0, 0, 0]; 20].concat();
        vec![
            ("first fragment", with_headers(&bytes, 44, &[protocol, 0, 0, 1, 0, 0, 0, 7])),
            ("later fragment", with_headers(&bytes, 44, &[protocol, 0, 0x05, 0xa8, 0, 0, 0, 7])),
            ("hidden fragment", with_headers(&bytes, 0, &[padding(44), [protocol, 0, 5, 0xa8, 0, 0, 0, 7]].concat())),
            ("hop-by-hop options", with_headers(&bytes, 0, &padding(protocol))),
            ("a routing header", with_headers(&bytes, 43, &[protocol, 0, 4, 1, 0, 0, 0, 0])),
            ("too many headers", with_headers(&bytes, 60, &many)),
        ]
    };
    if packet.kind.is_tcp() {
        for (name, flags) in [("SYN", 0x12), ("RST", 0x14), ("URG", 0x30), ("CWR", 0x90), ("no ACK", 0)] {
            all.push((name, patched(transport + 13, &[flags])));
        }
        all.push(("a header beyond the packet", {
            let mut cut = packet.clone().with(|p| p.payload.clear()).bytes();
            cut[transport + 12] = 0xf0;
            cut
        }));
        all.push(("an empty acknowledgement", packet.clone().with(|p| p.payload.clear()).bytes()));
    } else {
        all.push(("no checksum", patched(transport + 6, &[0, 0])));
        all.push(("another length", patched(transport + 4, &[0, 9])));
    }
    for (name, change) in [("TTL", (|p| p.ttl = 9) as fn(&mut Packet)), ("ECN", |p| p.tos = 3), ("DSCP", |p| p.tos = 8)]
    {
        all.push((name, packet.clone().with(change).bytes()));
    }
    all
}

#[test]
fn nothing_overtakes_a_run_of_its_own_flow() {
    for kind in KINDS {
        let run: Vec<_> = run_of(&Packet::new(kind), 5, 1000);
        let next = run[2].clone().with(|p| next_of(p, 1));
        for (name, odd) in what_cannot_be_merged(&next) {
            let mut packets: Vec<_> = run[..3].iter().map(Packet::bytes).collect();
            packets.push(odd);
            packets.extend(run[3..].iter().map(Packet::bytes));
            for merge in [ALL, Merge::NONE] {
                let all: Vec<_> = writes_with(merge, &packets).iter().flat_map(|write| split(write)).collect();
                assert!(all == packets, "{kind:?}, {name}, {merge:?}");
            }
        }
    }
}

#[test]
fn what_is_of_no_held_flow_ends_no_run() {
    for kind in KINDS {
        let run = run_of(&Packet::new(kind), 4, 1000);
        let mut ping = run[2].bytes();
        ping[if kind.is_ipv4() { 9 } else { 6 }] = if kind.is_ipv4() { 1 } else { 58 };
        let mut fragment = run[2].clone().with(|p| p.flow = 2).bytes();
        if kind.is_ipv4() {
            fragment[7] = 1;
        } else {
            fragment[6] = 44;
        }
        let packets = [run[0].bytes(), ping, run[1].bytes(), fragment, run[2].bytes(), run[3].bytes()];
        let sizes: Vec<_> = writes(&packets).iter().map(|write| split(write).len()).collect();
        assert_eq!(sizes, [1, 1, 4], "{kind:?}");
    }
}
