//! Vectors of the RFCs. HMAC and HKDF over BLAKE2s have none of their own: those were computed from the inputs of RFC
//! 4231 by Python's `hmac` and `hashlib`, which share no code with the crates used here.

use super::*;
use crate::test_support::{SeededRng, hex, hex_array};

#[test]
fn blake2s_of_rfc_7693() {
    // Appendix B.
    assert_eq!(hash(&[b"abc"]), hex_array("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
    assert_eq!(hash(&[b"a", b"", b"bc"]), hash(&[b"abc"]));
}

#[test]
fn keyed_blake2s_with_short_output() {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let message: [u8; 64] = std::array::from_fn(|i| i as u8);
    assert_eq!(mac(&key, &[&message]), hex_array("f1efa90d2547036841ecd3627fafbc36"));
    assert_eq!(mac(&key, &[&message[..9], &message[9..]]), mac(&key, &[&message]));
}

#[test]
fn hmac_over_the_inputs_of_rfc_4231() {
    let cases: [(&[u8], &[u8], &str); 3] = [
        (&[0x0b; 20], b"Hi There", "65a8b7c5cc9136d424e82c37e2707e74e913c0655b99c75f40edf387453a3260"),
        (b"Jefe", b"what do ya want for nothing?", "90b6281e2f3038c9056af0b4a7e763cae6fe5d9eb4386a0ec95237890c104ff0"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "d23d79394f53d536a096e6514447eeaabb05ded01be32c1937da6a8f7103bc4e",
        ),
    ];
    for (key, message, expected) in cases {
        assert_eq!(hmac(key, &[message]).as_bytes(), &hex_array(expected));
    }
}

#[test]
fn kdf_outputs_are_prefixes_of_each_other() {
    let chaining_key = Key::new(std::array::from_fn(|i| 0x10 + i as u8));
    let [a, b, c] = kdf(&chaining_key, b"input");
    assert_eq!(a.as_bytes(), &hex_array("f96ebfb54b96eee01ddae80340edeaccdcdacaec729315a1568b76498d738a14"));
    assert_eq!(b.as_bytes(), &hex_array("dd3acd894237ecef690c165a2b38c4c474759ebf17c0d84d0085a98fae3f43c4"));
    assert_eq!(c.as_bytes(), &hex_array("f5863de70c20b1c741abd15311daeb6d96a74dd97b67cc7c9ac58bcbfa55c428"));
    let [only] = kdf(&chaining_key, b"input");
    assert_eq!(only, a);
    assert_eq!(kdf(&chaining_key, b"input"), [a, b]);
}

#[test]
fn x25519_of_rfc_7748() {
    // Section 5.2, first and second vector. The second's point has its top bit set, which must be ignored.
    let cases = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ];
    for (scalar, point, expected) in cases {
        let shared = PrivateKey::new(hex_array(scalar)).diffie_hellman(&PublicKey::new(hex_array(point)));
        assert_eq!(shared.expect("an ordinary point").as_bytes(), &hex_array(expected));
    }
}

#[test]
fn x25519_exchange_of_rfc_7748() {
    // Section 6.1.
    let alice = PrivateKey::new(hex_array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = PrivateKey::new(hex_array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let alice_public = hex_array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let bob_public = hex_array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = Key::new(hex_array("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    assert_eq!(alice.public_key().as_bytes(), &alice_public);
    assert_eq!(bob.public_key().as_bytes(), &bob_public);
    assert_eq!(alice.diffie_hellman(&PublicKey::new(bob_public)).as_ref(), Ok(&shared));
    assert_eq!(bob.diffie_hellman(&PublicKey::new(alice_public)).as_ref(), Ok(&shared));
}

#[test]
fn points_of_low_order_are_refused() {
    let private = PrivateKey::generate(&mut SeededRng::new(1));
    for point in crate::test_support::LOW_ORDER_POINTS {
        let mut bytes: [u8; 32] = hex_array(point);
        assert_eq!(private.diffie_hellman(&PublicKey::new(bytes)), Err(LowOrder), "{point}");
        bytes[31] |= 0x80;
        assert_eq!(private.diffie_hellman(&PublicKey::new(bytes)), Err(LowOrder), "{point}, top bit set");
    }
}

const SUNSCREEN: &[u8] =
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                           sunscreen would be it.";
const SUNSCREEN_ASSOCIATED: &str = "50515253c0c1c2c3c4c5c6c7";

fn sunscreen_key() -> Key {
    Key::new(std::array::from_fn(|i| 0x80 + i as u8))
}

#[test]
fn chacha20_poly1305_of_rfc_8439() {
    // Section 2.8.2.
    let expected = hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69\
         da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594\
         5585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
    let cipher = ChaCha20Poly1305::new(sunscreen_key().as_bytes().into());
    let nonce = hex_array::<12>("070000004041424344454647").into();
    let associated = hex(SUNSCREEN_ASSOCIATED);
    let mut sealed = vec![0; expected.len()];
    seal(&cipher, &nonce, SUNSCREEN, &associated, &mut sealed);
    assert_eq!(sealed, expected);
    let mut opened = vec![0; SUNSCREEN.len()];
    assert_eq!(open(&cipher, &nonce, &sealed, &associated, &mut opened), Ok(()));
    assert_eq!(opened, SUNSCREEN);
}

#[test]
fn aes_256_gcm_of_its_submission() {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16.
    let key = Key::new(hex_array("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
    let nonce = hex_array::<12>("cafebabefacedbaddecaf888").into();
    let associated = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let text =
        hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5\
         aa0de657ba637b39");
    let expected =
        hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e63\
         93ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b");
    let mut sealed = vec![0; expected.len()];
    seal(&Aes256Gcm::new(key.as_bytes().into()), &nonce, &text, &associated, &mut sealed);
    assert_eq!(sealed, expected);
}

#[test]
fn xchacha20_poly1305_of_the_draft() {
    // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    let expected = hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f\
         4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f\
         76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");
    let nonce = std::array::from_fn(|i| 0x40 + i as u8);
    let associated = hex(SUNSCREEN_ASSOCIATED);
    let mut sealed = vec![0; expected.len()];
    xaead_seal(sunscreen_key().as_bytes(), &nonce, SUNSCREEN, &associated, &mut sealed);
    assert_eq!(sealed, expected);
    let mut opened = vec![0; SUNSCREEN.len()];
    assert_eq!(xaead_open(sunscreen_key().as_bytes(), &nonce, &sealed, &associated, &mut opened), Ok(()));
    assert_eq!(opened, SUNSCREEN);
}

#[test]
fn a_changed_bit_opens_nothing_and_shows_nothing() {
    for &suite in Suite::ALL {
        let key = Key::new([7; KEY_LEN]);
        let mut sealed = [0; 5 + TAG_LEN];
        aead_seal(suite, &key, b"hello", b"transcript", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed;
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut opened = [0xaa; 5];
            assert_eq!(aead_open(suite, &key, &bad, b"transcript", &mut opened), Err(BadTag));
            assert_eq!(opened, [0; 5]);
        }
        let mut opened = [0; 5];
        assert_eq!(aead_open(suite, &key, &sealed, b"another", &mut opened), Err(BadTag));
        assert_eq!(aead_open(suite, &key, &sealed[1..], b"transcript", &mut opened), Err(BadTag));
        assert_eq!(aead_open(suite, &key, &sealed[..TAG_LEN - 1], b"transcript", &mut []), Err(BadTag));
        assert_eq!(aead_open(suite, &key, &sealed, b"transcript", &mut opened), Ok(()));
        assert_eq!(&opened, b"hello");
    }
}

#[test]
fn secrets_do_not_print() {
    let private = PrivateKey::new([0x5a; KEY_LEN]);
    assert_eq!(format!("{private:?}"), "PrivateKey(secret)");
    assert_eq!(format!("{:?}", Key::new([0x5a; KEY_LEN])), "Key(secret)");
    assert_eq!(format!("{:?}", PresharedKey::new([0x5a; KEY_LEN])), "PresharedKey(secret)");
    assert_eq!(format!("{:?}", PublicKey::new([0x5a; KEY_LEN])), format!("PublicKey({})", "5a".repeat(32)));
}

#[test]
fn secrets_compare_by_value() {
    assert_eq!(Key::new([1; KEY_LEN]), Key::new([1; KEY_LEN]));
    assert_ne!(PresharedKey::default(), PresharedKey::new([1; KEY_LEN]));
    // Clamping makes these the same key.
    let mut other = [0x44; KEY_LEN];
    other[0] |= 7;
    assert_eq!(PrivateKey::new([0x44; KEY_LEN]).as_bytes()[0], 0x40);
    assert_eq!(PrivateKey::new([0x44; KEY_LEN]), PrivateKey::new(other));
}

#[test]
fn secrets_are_zeroed() {
    fn zeroed_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    zeroed_on_drop::<Key>();
    zeroed_on_drop::<PrivateKey>();
    zeroed_on_drop::<PresharedKey>();
    let mut key = Key::new([1; KEY_LEN]);
    key.zeroize();
    assert_eq!(key.as_bytes(), &[0; KEY_LEN]);
}

#[test]
fn a_prepared_key_makes_the_same_macs() {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let prepared = MacKey::new(&key);
    let message: Vec<u8> = (0..300).map(|i| i as u8).collect();
    for len in 1..message.len() {
        assert_eq!(prepared.mac(&message[..len]), mac(&key, &[&message[..len]]), "{len} bytes");
    }
}
