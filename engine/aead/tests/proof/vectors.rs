//! What others have published, through the seam. From RFC 8439, the specification of GCM and Wycheproof come all
//! vectors that can be a data message: four zero bytes in front of the nonce, and no associated data. Vectors with
//! associated data or other nonces are for the crate's own unit tests, which reach behind the seam.

use data_encoding::HEXLOWER_PERMISSIVE;
use num_bigint::BigUint;
use ringfort_aead::{KEY_LEN, Message, Suite, TAG_LEN};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use crate::oracle::Oracle;
use crate::subject::Subject;

fn hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).expect("hexadecimal digits")
}

fn key(digits: &str) -> [u8; KEY_LEN] {
    hex(digits).try_into().expect("32 bytes")
}

/// A message must come out the same wherever it lies in a batch: alone, and as the last one of several.
const PLACES: [usize; 6] = [1, 2, 3, 5, 9, 64];

/// Seals `text` as message `count` of a batch whose others are like it under other counters.
fn seal_last(subject: Subject, key: &[u8; KEY_LEN], counter: u64, text: &[u8], count: usize) -> Vec<u8> {
    let mut bodies = vec![[text, &[0; TAG_LEN]].concat(); count];
    let counters = (0..count as u64).rev().map(|back| counter.wrapping_sub(back));
    let messages =
        bodies.iter_mut().zip(counters).map(|(body, counter)| Message::of_body(counter, body).expect("it has a tag"));
    subject.seal_key(key).seal_batch(&mut messages.collect::<Vec<_>>()).expect("possible");
    bodies.pop().expect("the last of them")
}

fn check(suite: Suite, key: &[u8; KEY_LEN], counter: u64, text: &[u8], sealed: &[u8]) {
    for subject in Subject::of(suite) {
        for count in PLACES {
            assert_eq!(seal_last(subject, key, counter, text, count), sealed, "{subject}: the last of {count}");
        }
        let mut body = sealed.to_vec();
        let message = Message::of_body(counter, &mut body).expect("it has a tag");
        let opened = subject.open_key(key).open_batch(&mut [message]);
        assert!(opened.expect("possible").all_passed(), "{subject}");
        assert_eq!(body[..text.len()], *text, "{subject}");
    }
}

/// A vector of ChaCha20's key stream. A data message begins with block 1 of it.
struct Stream {
    section: &'static str,
    key: [u8; KEY_LEN],
    counter: u64,
    text: &'static [u8],
    /// Which block of `text` is shown, and its ciphertext from there on.
    shown: (usize, &'static str),
}

const ONE: [u8; KEY_LEN] = {
    let mut key = [0; KEY_LEN];
    key[31] = 1;
    key
};

/// Those of RFC 8439 whose nonces a data message can have.
const STREAMS: [Stream; 5] = [
    Stream {
        section: "2.4.2",
        key: *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
            \x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        counter: 0x4a00_0000,
        text: b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.",
        shown: (
            0,
            "6e2e359a2568f98041ba0728dd0d6981 e97e7aec1d4360c20a27afccfd9fae0b f91b65c5524733ab8f593dabcd62b357
             1639d624e65152ab8f530c359f0861d8 07ca0dbf500d6a6156a38e088a22b65e 52bc514d16ccf806818ce91ab7793736
             5af90bbf74a35be6b40b8eedf2785e42 874d",
        ),
    },
    Stream {
        section: "A.1 #2",
        key: [0; KEY_LEN],
        counter: 0,
        text: &[0; 64],
        shown: (
            0,
            "9f07e7be5551387a98ba977c732d080d cb0f29a048e3656912c6533e32ee7aed 29b721769ce64e43d57133b074d839d5
             31ed1f28510afb45ace10a1f4b794d6f",
        ),
    },
    Stream {
        section: "A.1 #3",
        key: ONE,
        counter: 0,
        text: &[0; 64],
        shown: (
            0,
            "3aeb5224ecf849929b9d828db1ced4dd 832025e8018b8160b82284f3c949aa5a 8eca00bbb4a73bdad192b5c42f73f2fd
             4e273644c8b36125a64addeb006c13a0",
        ),
    },
    Stream {
        section: "A.1 #4",
        key: {
            let mut key = [0; KEY_LEN];
            key[1] = 0xff;
            key
        },
        counter: 0,
        text: &[0; 128],
        shown: (
            1,
            "72d54dfbf12ec44b362692df94137f32 8fea8da73990265ec1bbbea1ae9af0ca 13b25aa26cb4a648cb9b9d1be65b2c09
             24a66c54d545ec1b7374f4872e99f096",
        ),
    },
    Stream {
        section: "A.2 #2",
        key: ONE,
        counter: 2 << 56,
        text: b"Any submission to the IETF intended by the Contributor for publication as all or part of an IETF \
            Internet-Draft or RFC and any statement made within the context of an IETF activity is considered an \
            \"IETF Contribution\". Such statements include oral statements in IETF sessions, as well as written and \
            electronic communications made at any time or place, which are addressed to",
        shown: (
            0,
            "a3fbf07df3fa2fde4f376ca23e827370 41605d9f4f4f57bd8cff2c1d4b7955ec 2a97948bd3722915c8f3d337f7d37005
             0e9e96d647b7c39f56e031ca5eb6250d 4042e02785ececfa4b4bb5e8ead0440e 20b6e8db09d881a7c6132f420e527950
             42bdfa7773d8a9051447b3291ce1411c 680465552aa6c405b7764d5e87bea85a d00f8449ed8f72d0d662ab052691ca66
             424bc86d2df80ea41f43abf937d3259d c4b2d0dfb48a6c9139ddd7f76966e928 e635553ba76c5c879d7b35d49eb2e62b
             0871cdac638939e25e8a1e0ef9d5280f a8ca328b351c3c765989cbcf3daa8b6c cc3aaf9f3979c92b3720fc88dc95ed84
             a1be059c6499b9fda236e7e818b04b0b c39c1e876b193bfe5569753f88128cc0 8aaa9b63d1a16f80ef2554d7189c411f
             5869ca52c5b83fa36ff216b9c1d30062 bebcfd2dc5bce0911934fda79a86f6e6 98ced759c3ff9b6477338f3da4f9cd85
             14ea9982ccafb341b2384dd902f3d1ab 7ac61dd29c6f21ba5b862f3730e37cfd c4fd806c22f221",
        ),
    },
];

#[test]
fn key_streams_of_rfc_8439() {
    for Stream { section, key, counter, text, shown: (block, ciphertext) } in &STREAMS {
        let sealed = Oracle::new(Suite::ChaCha20Poly1305, key).sealed(*counter, text);
        let ciphertext = hex(ciphertext);
        assert_eq!(sealed[64 * block..][..ciphertext.len()], ciphertext, "the oracle, {section}");
        check(Suite::ChaCha20Poly1305, key, *counter, text, &sealed);
    }
}

/// The one-time keys of RFC 8439's vectors with such nonces. The tag of an empty message shows them: it is
/// 2^128 · r + s.
#[test]
fn one_time_keys_of_rfc_8439() {
    // Section, key, counter, one-time key. The nonces of 2.6.2 and of A.4 #2 and #3, read as counters.
    let vectors: [(&str, [u8; KEY_LEN], u64, &str); 4] = [
        (
            "2.6.2",
            std::array::from_fn(|i| 0x80 + i as u8),
            0x0706_0504_0302_0100,
            "8ad5a08b905f81cc815040274ab29471 a833b637e3fd0da508dbb8e2fdd1a646",
        ),
        ("A.4 #1", [0; KEY_LEN], 0, "76b8e0ada0f13d90405d6ae55386bd28 bdd219b8a08ded1aa836efcc8b770dc7"),
        ("A.4 #2", ONE, 2 << 56, "ecfa254f845f647473d3cb140da9e876 06cb33066c447b87bc2666dde3fbb739"),
        (
            "A.4 #3",
            key("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"),
            2 << 56,
            "965e3bc6f9ec7ed9560808f4d229f94b 137ff275ca9b3fcbdd59deaad23310ae",
        ),
    ];
    let p = (BigUint::from(1u8) << 130u32) - 5u8;
    let clamp = BigUint::from(0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffffu128);
    for (section, key, counter, one_time) in vectors {
        let one_time = hex(one_time);
        let (r, s) = (BigUint::from_bytes_le(&one_time[..16]) & &clamp, BigUint::from_bytes_le(&one_time[16..]));
        let sum = (r << 128u32) % &p + s;
        let mut tag = sum.to_bytes_le();
        tag.resize(17, 0);
        assert_eq!(
            Oracle::new(Suite::ChaCha20Poly1305, &key).sealed(counter, &[]),
            tag[..TAG_LEN],
            "the oracle, {section}"
        );
        check(Suite::ChaCha20Poly1305, &key, counter, &[], &tag[..TAG_LEN]);
    }
}

/// "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13 and 14: AES-256, nonce 0.
#[test]
fn test_cases_of_gcm() {
    check(Suite::Aes256Gcm, &[0; KEY_LEN], 0, &[], &hex("530f8afbc74536b9a963b4f1c4cb738b"));
    let sealed = hex("cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919");
    check(Suite::Aes256Gcm, &[0; KEY_LEN], 0, &[0; 16], &sealed);
}

/// Wycheproof's vectors for the suite whose nonces a data message can have, as counters.
fn of_data_messages(suite: Suite) -> Vec<(wycheproof::aead::Test, [u8; KEY_LEN], u64)> {
    let (name, from_bytes): (_, fn([u8; 8]) -> u64) = match suite {
        Suite::ChaCha20Poly1305 => (TestName::ChaCha20Poly1305, u64::from_le_bytes),
        Suite::Aes256Gcm => (TestName::AesGcm, u64::from_be_bytes),
    };
    let groups = TestSet::load(name).expect("the vectors of the crate").test_groups;
    let tests = groups.into_iter().flat_map(|group| group.tests);
    tests
        .filter_map(|test| {
            let key = test.key[..].try_into().ok()?;
            let nonce: [u8; 12] = test.nonce[..].try_into().ok()?;
            let (prefix, counter) = nonce.split_first_chunk::<4>().expect("12 bytes are more than 4");
            let counter = from_bytes(counter.try_into().expect("8 bytes remain"));
            (*prefix == [0; 4] && test.tag.len() == TAG_LEN).then_some((test, key, counter))
        })
        .collect()
}

/// Those without associated data are used as they are. Of the others the key and the nonce are, which for
/// ChaCha20-Poly1305 make the edge cases of the one-time key; the oracle says what they yield without associated data.
#[test]
fn wycheproof() {
    let mut counts = Vec::new();
    for suite in Suite::ALL {
        let tests = of_data_messages(suite);
        let (mut whole, mut keys) = (0, 0);
        for (test, key, counter) in &tests {
            let oracle = Oracle::new(suite, key).sealed(*counter, &test.pt);
            check(suite, key, *counter, &test.pt, &oracle);
            if !test.aad.is_empty() {
                keys += 1;
                continue;
            }
            whole += 1;
            let published = [&test.ct[..], &test.tag].concat();
            match test.result {
                TestResult::Valid | TestResult::Acceptable => assert_eq!(oracle, published, "test {}", test.tc_id),
                TestResult::Invalid => {
                    for subject in Subject::of(suite) {
                        let opened = subject.open_key(key).open(*counter, &mut published.clone());
                        assert!(opened.is_err(), "{subject}: test {}", test.tc_id);
                    }
                }
            }
        }
        println!("{suite}: {whole} vectors of Wycheproof as they are, key and nonce of {keys} more");
        counts.push((suite, whole, keys));
    }
    // Version 0.7 of the crate; more are welcome.
    assert!(counts.iter().all(|(_, whole, keys)| whole + keys > 0), "{counts:?}");
}
