//! The example runs, and carries every byte.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

#[expect(dead_code, reason = "an example has a `main` of its own")]
#[path = "../examples/copy.rs"]
mod copy;

/// More than the sockets and all slots hold.
const LEN: usize = 16 << 20;

#[test]
fn copy_carries_every_byte() {
    let (mut sender, from) = UnixStream::pair().unwrap();
    // A pipe takes a part of a write when it is nearly full.
    let (mut receiver, to) = std::io::pipe().unwrap();
    let bytes: Vec<u8> = (0..LEN as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let expected = bytes.clone();
    let copying = thread::spawn(move || copy::copy(&from, &to).map_err(|error| error.to_string()));
    let sending = thread::spawn(move || sender.write_all(&bytes));
    let mut received = Vec::new();
    // In small pieces, so the pipe is full most of the time and has room for less than a slot.
    let mut piece = [0; 5_000];
    loop {
        match receiver.read(&mut piece).unwrap() {
            0 => break,
            len => received.extend_from_slice(&piece[..len]),
        }
    }
    sending.join().unwrap().unwrap();
    assert_eq!(copying.join().unwrap(), Ok(()));
    assert!(received == expected, "{} bytes of {LEN} arrived", received.len());
}
