//! What the data path writes to the TUN, for its target: cut as the kernel will cut it, refused now and then.

use ring_buffers::View;
use vnet_packets::{Received, Segments, VNET_HDR_LEN, virtio};

use crate::gateway::Gateway;
use crate::oracle::plain;

impl Gateway {
    pub(crate) fn write(&mut self, pieces: &mut Vec<View>, answers: bool) {
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let received = virtio::parse(&whole).expect("a finished virtio-net header");
        if answers {
            let protocol =
                if whole[VNET_HDR_LEN] >> 4 == 4 { whole[VNET_HDR_LEN + 9] } else { whole[VNET_HDR_LEN + 6] };
            assert!(matches!(protocol, 1 | 58), "an ICMP error");
            self.reached.answered += 1;
            return pieces.clear();
        }
        let is_refused = std::mem::take(&mut self.mood.refuses_write);
        let comes_again = is_refused && self.mood.merged_is_wrong && matches!(received, Received::Super(_));
        if !comes_again {
            self.keep(&whole[VNET_HDR_LEN..], received);
        }
        if is_refused {
            let rest = pieces.split_off(1);
            let first = pieces.pop().expect("a write has a first piece");
            self.path.handle_write_failed(self.now, first, rest, self.mood.merged_is_wrong);
        }
        pieces.clear();
    }

    fn keep(&mut self, packet: &[u8], received: Received) {
        match received {
            Received::Packet(_) => self.written.push(plain(packet)),
            Received::Super(geometry) => {
                for segment in Segments::new(packet, geometry).expect("the geometry that was parsed") {
                    let mut bytes = vec![0; segment.len()];
                    segment.write(&mut bytes);
                    self.written.push(plain(&bytes));
                }
            }
        }
    }
}
