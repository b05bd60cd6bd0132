//! Known answers of both suites, from other hands than ours.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit};
use zerocopy::IntoBytes;

use super::symmetric::SymmetricState;
use super::tests::{INITIATOR_INDEX, Pair, RESPONDER_INDEX, assert_same_session};
use super::*;
use crate::cookie::CookieGenerator;
use crate::crypto::{Key, PresharedKey, PrivateKey, PublicKey};
use crate::tai64n::Tai64N;
use crate::test_support::{FixedRng, hex, hex_array};
use crate::time::Time;

/// Both messages with macs, and the initiator's sending and receiving key.
struct Whole {
    suite: Suite,
    initiation: &'static str,
    response: &'static str,
    send: &'static str,
    receive: &'static str,
}

/// From a separate program: the paper's section 5.4 written down in Python with `hashlib`, `hmac` and OpenSSL's X25519,
/// ChaCha20-Poly1305 and AES-256-GCM. Private keys and the preshared key are runs of consecutive bytes.
const WHOLE: [Whole; 2] = [
    Whole {
        suite: Suite::ChaCha20Poly1305,
        initiation: "010000000403020179a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51af0225eb4\
                     21886af8f54fb31289d49dcd82b0f6f3279d40d7cff913fece0c64ad226eef3320755b393b72f16842c8d7ee\
                     78a74e93716cdb8992f4ecc1638e152bd6535f694d27879cf91345900bfd351daf0dc51c1b447322d8822d09\
                     00000000000000000000000000000000",
        response: "02000000d4c3b2a104030201493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d4c51fec2d3fa\
                   4bcde02d360e85a6dd05c12ee506a01616da4007404f990548d500000000000000000000000000000000",
        send: "e7de12daeb1c803e867fc5bd210cdf1fc3ee7444eb52aa20d2bf2127c96bd2b8",
        receive: "075534fd8153fc9a64eab324d571354187be61629157632b3a9dde29aaf8ffad",
    },
    Whole {
        suite: Suite::Aes256Gcm,
        initiation: "0147434d0403020179a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a4d5101bd\
                     34feba895558171161d20308f1f7afc8eb810b0f4cb71ba269561ac8685adbc29ac60f2b4e79f1cf9f3e734b\
                     2036f1d93ce166bc95bb0945e28cf898676e3e2780684f19e1a7294303804505f5fc233201d3231056e72f27\
                     00000000000000000000000000000000",
        response: "02000000d4c3b2a104030201493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d574a61a3eaa3\
                   be30eac12478a0044dca0e4965227de1e2e7099e7f92fa82d8bf00000000000000000000000000000000",
        send: "6d5d3451a9843916b16c25f3040ef8b88159f56eb8eaf46305a616d12f05c555",
        receive: "15fad6caeaeb6f5f04882787af5a1c13f35dc3d235c31b268ab9da13217d5b83",
    },
];

#[test]
fn whole_handshake_known_answers() {
    for answer in &WHOLE {
        check_whole(answer);
    }
}

fn check_whole(answer: &Whole) {
    let run = |start: u8| -> [u8; 32] { std::array::from_fn(|i| start.wrapping_add(i as u8)) };
    let mut pair = Pair::with_keys(PrivateKey::new(run(0x00)), PrivateKey::new(run(0x20)));
    for remote in [&mut pair.to_responder, &mut pair.to_initiator] {
        remote.set_psk(PresharedKey::new(run(0xa0)));
        remote.set_suite(answer.suite);
    }
    let timestamp = Tai64N::from_bytes(hex_array("400000006a0000011d000000"));

    let mut ephemeral = FixedRng(run(0x40).to_vec());
    let (pending, mut initiation) =
        create_initiation(&pair.initiator, &pair.to_responder, timestamp, INITIATOR_INDEX, &mut ephemeral)
            .expect("ordinary keys");
    CookieGenerator::new(pair.responder.public()).add_macs(Time::ZERO, initiation.as_mut_bytes());
    assert_eq!(initiation.as_bytes(), hex(answer.initiation));

    let verified = pair.verify(&initiation).expect("the right message");
    assert_eq!(verified.timestamp(), timestamp);
    assert_eq!(verified.remote_index(), INITIATOR_INDEX);
    let mut ephemeral = FixedRng(run(0x80).to_vec());
    let (responder_session, mut response) =
        verified.create_response(&pair.to_initiator, RESPONDER_INDEX, &mut ephemeral).expect("ordinary keys");
    CookieGenerator::new(pair.initiator.public()).add_macs(Time::ZERO, response.as_mut_bytes());
    assert_eq!(response.as_bytes(), hex(answer.response));

    let initiator_session = pair.finish(&pending, &response).expect("the right message");
    assert_eq!(initiator_session.keys.send.as_bytes(), &hex_array(answer.send));
    assert_eq!(initiator_session.keys.receive.as_bytes(), &hex_array(answer.receive));
    assert_eq!(initiator_session.suite, answer.suite);
    assert_same_session(&initiator_session, &responder_session);
}

/// What one suite's vector expects.
struct Published {
    suite: Suite,
    first: &'static str,
    second: &'static str,
    handshake_hash: &'static str,
    /// The first three transport messages: by the initiator, by the responder, by the initiator.
    transport: [&'static str; 3],
}

/// The vectors for these two Noise protocols in cacophony's collection (as distributed with the snow project,
/// `tests/vectors/cacophony.txt`).
const PUBLISHED: [Published; 2] = [
    Published {
        suite: Suite::ChaCha20Poly1305,
        first: "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253\
                c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e\
                51ee93109008399a21f7e13f",
        second: "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab032221775\
                 5c0632f365717edbf34d33e87a",
        handshake_hash: "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5",
        transport: [
            "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
            "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
            "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
        ],
    },
    Published {
        suite: Suite::Aes256Gcm,
        first: "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944f70d65fedfd7ad294f4c8f5c1324c7c90e54\
                cd8af05652112a27b261e11ce99d9d517c4a1e0753038edb26066b4087b4c230aafa22b0552550b723eb69374a674d306a84\
                e1852e30af2e2dbefeb4fd2f",
        second: "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434190dae84b6887641a5f81e03d83f7be91fa\
                 1134c18dde966e18fc404b97a8",
        handshake_hash: "60f2139120264f109f2bd525a8d94877d7896d64394c34a7abedbc114154a6d5",
        transport: [
            "061b631b380a639a0801920ddf205e2dbf6606c3328683c6af50fc",
            "c4b5ecd181f80279f2cc41217d490ed56459e3e3fb5e758e522d0d",
            "43897c593df3b427776e11c3632bb935fd7e31e50a4069c8b559188a04af961e12",
        ],
    },
];

#[test]
fn published_noise_ikpsk2_vectors() {
    for vector in &PUBLISHED {
        check_published(vector);
    }
}

/// They differ from WireGuard by prologue and payloads only, so the tokens are applied here to the very state that
/// WireGuard's messages are made with.
fn check_published(vector: &Published) {
    let key = |text| PrivateKey::new(hex_array(text));
    let i_static = key("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1");
    let i_ephemeral = key("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    let r_static = key("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
    let r_ephemeral = key("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let r_public = r_static.public_key();
    assert_eq!(r_public.as_bytes(), &hex_array("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"));
    let psk = PresharedKey::new(*b"This is my Austrian perspective!");
    let dh = |private: &PrivateKey, public: PublicKey| private.diffie_hellman(&public).expect("ordinary keys");

    let mut state = SymmetricState::new(vector.suite, b"John Galt", &r_public);
    let mut first = i_ephemeral.public_key().as_bytes().to_vec();
    first.resize(32 + 48 + 32, 0);
    state.mix_ephemeral(i_ephemeral.public_key().as_bytes());
    let key = state.mix_key(&dh(&i_ephemeral, r_public));
    state.encrypt_and_hash(&key, i_static.public_key().as_bytes(), &mut first[32..80]);
    let key = state.mix_key(&dh(&i_static, r_public));
    state.encrypt_and_hash(&key, b"Ludwig von Mises", &mut first[80..]);
    assert_eq!(first, hex(vector.first));

    let mut second = r_ephemeral.public_key().as_bytes().to_vec();
    second.resize(32 + 31, 0);
    state.mix_ephemeral(r_ephemeral.public_key().as_bytes());
    state.mix_dh(dh(&r_ephemeral, i_ephemeral.public_key()).as_bytes());
    state.mix_dh(dh(&r_ephemeral, i_static.public_key()).as_bytes());
    let key = state.mix_psk(&psk);
    state.encrypt_and_hash(&key, b"Murray Rothbard", &mut second[32..]);
    assert_eq!(second, hex(vector.second));
    assert_eq!(state.handshake_hash(), &hex_array(vector.handshake_hash));

    let keys = state.split(true);
    let plaintexts = [&b"F. A. Hayek"[..], b"Carl Menger", b"Jean-Baptiste Say"];
    let sealed_with = [(&keys.send, 0), (&keys.receive, 0), (&keys.send, 1)];
    for ((expected, plaintext), (key, counter)) in vector.transport.iter().zip(plaintexts).zip(sealed_with) {
        assert_eq!(seal_transport(vector.suite, key, counter, plaintext), hex(expected));
    }
}

/// A transport message as Noise, section 12, says: the counter little-endian for ChaChaPoly, big-endian for AESGCM.
fn seal_transport(suite: Suite, key: &Key, counter: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    let key = key.as_bytes().into();
    let sealed = match suite {
        Suite::ChaCha20Poly1305 => {
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            ChaCha20Poly1305::new(key).encrypt(&nonce.into(), plaintext)
        }
        Suite::Aes256Gcm => {
            nonce[4..].copy_from_slice(&counter.to_be_bytes());
            aes_gcm::Aes256Gcm::new(key).encrypt(&nonce.into(), plaintext)
        }
    };
    sealed.expect("a short message")
}
