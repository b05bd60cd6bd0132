//! The kernel refuses a super-packet: the same packets are written one by one, and none is lost or counted twice.
//!
//! It can be made to: a device that is told to expect a shorter header before each packet (`TUNSETVNETHDRSZ`) takes the
//! end of ours for the packet's beginning, which is no IP. The kernel carries a write out at the beginning of the next
//! turn. So the test can say which writes meet that.

use std::ffi::c_int;
use std::os::fd::AsRawFd;

use super::*;

/// What the worker sets, and what makes every write of its wrong.
const RIGHT: c_int = tun_uring::VNET_HDR_LEN as c_int;
const WRONG: c_int = 12;

fn expect_header(f: &Solo, len: c_int) {
    // SAFETY: TUNSETVNETHDRSZ reads one int at the address, which is that of a live one.
    let result = unsafe { libc::ioctl(f.queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// A train of 20 datagrams from one port, each 1,000 times a number from `first` on.
fn train(f: &mut Solo, port: u16, first: u8) -> Vec<Vec<u8>> {
    let message = |n: u8| {
        let mut packet = inner_packet([10, 9, 0, 2], &[n; 1000]);
        packet[20..22].copy_from_slice(&port.to_be_bytes());
        f.seal(0, &with_checksum(packet))
    };
    (first..first + 20).map(message).collect()
}

/// Sends trains, and turns until all of them were received. They are written with the next turn.
fn receive(f: &mut Solo, trains: &[Vec<Vec<u8>>]) {
    let expected = f.stats[0].udp_receive_trains.get() + trains.len() as u64;
    trains.iter().for_each(|train| f.send_train(train));
    f.turn_until(|f| f.stats[0].udp_receive_trains.get() == expected);
}

fn assert_delivered(f: &Solo, numbers: std::ops::Range<u8>) {
    let mut buffer = [0; 2000];
    for n in numbers {
        assert_eq!(f.receive_inner(&mut buffer), 1000);
        assert_eq!(buffer[..1000], [n; 1000]);
    }
}

fn lost(f: &Solo) -> u64 {
    DropReason::ALL.iter().map(|&reason| f.dropped(reason)).sum()
}

#[test]
fn super_packets_that_the_kernel_refuses_are_written_packet_by_packet() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let trains = [train(&mut f, 4096, 0)];
        receive(&mut f, &trains);
        f.settle();
        assert_delivered(&f, 0..20);
        assert_eq!(f.stats[0].tun_writes.get(), 1, "merged");

        // Two of them, of a flow each, are on their way when the first is refused.
        let trains = [[train(&mut f, 4096, 20), train(&mut f, 4097, 40)].concat()];
        receive(&mut f, &trains);
        expect_header(&f, WRONG);
        f.turn();
        expect_header(&f, RIGHT);
        f.settle();
        assert!(!f.worker.path.merges());
        assert_eq!(lost(&f), 0);
        assert_delivered(&f, 20..60);
        assert_eq!(f.stats[0].tun_write_packets.get(), 60, "each is counted once");
        assert_eq!(f.stats[0].tun_writes.get(), 1 + 2 + 40);

        // From now on nothing is merged that could be refused.
        let trains = [train(&mut f, 4096, 60)];
        receive(&mut f, &trains);
        f.settle();
        assert_delivered(&f, 60..80);
        assert_eq!((f.stats[0].tun_writes.get(), lost(&f)), (43 + 20, 0));
        f.finish();
    });
}

#[test]
fn what_the_kernel_does_not_take_packet_by_packet_either_is_counted_once() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let trains = [train(&mut f, 4096, 0)];
        receive(&mut f, &trains);
        expect_header(&f, WRONG);
        f.settle();
        expect_header(&f, RIGHT);
        assert!(!f.worker.path.merges());
        assert_eq!((lost(&f), f.dropped(DropReason::TunWriteFailed)), (20, 20));
        let trains = [train(&mut f, 4096, 20)];
        receive(&mut f, &trains);
        f.settle();
        assert_delivered(&f, 20..40);
        f.finish();
    });
}

/// That an interface is down says nothing about super-packets.
#[test]
fn merging_goes_on_after_the_interface_was_down() {
    in_namespace(|| {
        let mut f = Solo::new();
        f.install_receive(0, true);
        f.settle();
        let trains = [train(&mut f, 4096, 0)];
        receive(&mut f, &trains);
        ip("link set rf0 down");
        f.settle();
        ip("link set rf0 up");
        assert!(f.worker.path.merges());
        assert_eq!((lost(&f), f.dropped(DropReason::TunWriteFailed)), (20, 20));
        let trains = [train(&mut f, 4096, 20)];
        receive(&mut f, &trains);
        f.settle();
        assert_delivered(&f, 20..40);
        assert_eq!(f.stats[0].tun_writes.get(), 2);
        f.finish();
    });
}
