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
    let (to, mut receiver) = UnixStream::pair().unwrap();
    let bytes: Vec<u8> = (0..LEN as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let expected = bytes.clone();
    let copying = thread::spawn(move || copy::copy(&from, &to).map_err(|error| error.to_string()));
    let sending = thread::spawn(move || sender.write_all(&bytes));
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(copying.join().unwrap(), Ok(()));
    assert!(received == expected, "{} bytes of {LEN} arrived", received.len());
}
