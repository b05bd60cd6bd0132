use super::*;

#[test]
fn an_answer_reads_as_wg_expects_it() {
    let mut reply = Reply::default();
    let key: [u8; 32] = std::array::from_fn(|index| (index * 9) as u8);
    reply.interface(&InterfaceStatus { private_key: Some(&key), listen_port: 51820, ..InterfaceStatus::default() });
    let status = PeerStatus {
        public_key: &key,
        preshared_key: &[0; 32],
        cipher_suite: None,
        name: None,
        source: Some("2001:db8::7".parse().unwrap()),
        endpoint: Some("[2001:db8::1]:7".parse().unwrap()),
        last_handshake: (12, 34),
        tx_bytes: 1,
        rx_bytes: u64::MAX,
        persistent_keepalive: 25,
    };
    reply.peer(&status);
    reply.line("allowed_ip", "10.0.0.0/8");
    reply.line("allowed_ip", "::/0");
    reply.finish(Errno::OK);
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = format!(
        "private_key={hex}\nlisten_port=51820\npublic_key={hex}\npreshared_key={}\nprotocol_version=1\n\
         source=2001:db8::7\nendpoint=[2001:db8::1]:7\nlast_handshake_time_sec=12\nlast_handshake_time_nsec=34\n\
         tx_bytes=1\nrx_bytes=18446744073709551615\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\n\
         allowed_ip=::/0\nerrno=0\n\n",
        "0".repeat(64)
    );
    assert_eq!(std::str::from_utf8(reply.unwritten()).unwrap(), expected);
    reply.advance(5);
    assert!(reply.unwritten().starts_with(b"te_key="));
    reply.advance(usize::MAX);
    assert!(reply.unwritten().is_empty());
}

#[test]
fn an_empty_interface_answers_with_the_status_alone() {
    let mut reply = Reply::default();
    reply.interface(&InterfaceStatus::default());
    reply.finish(Errno::INVALID);
    assert_eq!(reply.unwritten(), b"errno=-22\n\n");
}
