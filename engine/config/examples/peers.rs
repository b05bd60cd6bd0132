//! How long it takes to read a configuration: `cargo run --release -p ringfort-config --example peers [COUNT]`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use ringfort_config::{KeyFiles, Memory, key_text, load};
use ringfort_core::crypto::PublicKey;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(50_000_u32);
    let mut text = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n".to_owned();
    for number in 0..count {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        let [_, b, c, d] = number.to_be_bytes();
        let key = key_text::encode(&PublicKey::new(key));
        write!(
            text,
            "\n[Peer]\n#ringfort: Name = client {number}\nPublicKey = {key}\nPresharedKey = {key}\n\
             AllowedIPs = 10.{b}.{c}.{d}/32, fd00::{number:x}/128\nEndpoint = 192.0.2.{d}:51820\n"
        )
        .expect("a string takes everything");
    }
    let files = Memory::new([("wg0.conf", text.as_bytes())]);
    let begin = Instant::now();
    let config = load(Path::new("wg0.conf"), &files, KeyFiles::Needed).expect("a good file").config;
    let (read, begin) = (begin.elapsed(), Instant::now());
    let written = config.write();
    println!("{} peers, {} bytes: read in {read:?}, written in {:?}", config.peers.len(), text.len(), begin.elapsed());
    assert!(written.as_str().len() > count as usize);
}
