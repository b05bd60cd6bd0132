use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn hexadecimal_is_decoded_exactly(key in any::<[u8; 32]>(), position in 0_usize..64, digit in any::<u8>()) {
        let mut text: Vec<u8> = key.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        prop_assert_eq!(public_key(&text), Some(key));
        text[position] = digit;
        let decoded = public_key(&text);
        prop_assert_eq!(decoded.is_some(), digit.is_ascii_hexdigit());
        if let Some(decoded) = decoded {
            let byte = decoded[position / 2];
            let nibble = if position % 2 == 0 { byte >> 4 } else { byte & 15 };
            prop_assert_eq!(Some(u32::from(nibble)), char::from(digit).to_digit(16));
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again(addr in any::<IpAddr>(), len in 0_u8..=32, port in any::<u16>()) {
        let printed = Prefix::new(addr, len).unwrap();
        prop_assert_eq!(prefix(printed.to_string().as_bytes()), Some(printed));
        let printed = SocketAddr::new(addr, port);
        prop_assert_eq!(endpoint(printed.to_string().as_bytes(), |_: &str| None), Some(printed));
    }
}
