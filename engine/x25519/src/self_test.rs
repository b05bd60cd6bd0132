//! What a library must show before it computes handshakes.

use ringfort_core::crypto::{LowOrder, Portable, PrivateKey, PublicKey, X25519};

/// A library computed something wrong: a broken build, or a broken CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X25519 of {name} failed its self-test: {check}")]
pub struct SelfTestError {
    /// Which library.
    pub name: &'static str,
    /// Which check, in words.
    pub check: &'static str,
}

/// RFC 7748, section 5.2: scalar, point, result. The second point has its top bit set, which must be ignored.
const VECTORS: [[[u8; 32]; 3]; 2] = [
    [
        bytes(b"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        bytes(b"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        bytes(b"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
    ],
    [
        bytes(b"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
        bytes(b"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"),
        bytes(b"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"),
    ],
];
/// RFC 7748, section 6.1: a private key and its public key.
const PAIR: [[u8; 32]; 2] = [
    bytes(b"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
    bytes(b"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
];
/// The points of low order below 2^255. Each has a second encoding, with the top bit set.
const LOW_ORDER: [[u8; 32]; 7] = [
    bytes(b"0000000000000000000000000000000000000000000000000000000000000000"),
    bytes(b"0100000000000000000000000000000000000000000000000000000000000000"),
    bytes(b"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes(b"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes(b"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes(b"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];
/// Agreements that are compared with the oracle's: of each, the result is the next key, and the key the next point.
const COMPARED: usize = 24;

/// Published vectors, agreement with the oracle, refusal of points of low order.
///
/// # Errors
/// What went wrong first.
pub fn self_test(x25519: &dyn X25519) -> Result<(), SelfTestError> {
    check(x25519).map_err(|check| SelfTestError { name: x25519.name(), check })
}

fn check(x25519: &dyn X25519) -> Result<(), &'static str> {
    let [private, public] = PAIR;
    let secret = x25519.secret(&PrivateKey::new(private));
    ensure(*secret.public_key().as_bytes() == public, "known answer: a public key")?;
    ensure(secret.private_key() == PrivateKey::new(private), "a private key comes back as it was given")?;
    for [scalar, point, expected] in VECTORS {
        let shared = x25519.secret(&PrivateKey::new(scalar)).diffie_hellman(&PublicKey::new(point));
        ensure(shared.is_ok_and(|shared| *shared.as_bytes() == expected), "known answer: an agreement")?;
    }
    for point in LOW_ORDER {
        let mut other = point;
        other[31] |= 0x80;
        for point in [point, other] {
            let refused = secret.diffie_hellman(&PublicKey::new(point)) == Err(LowOrder);
            ensure(refused, "a point of low order was taken")?;
        }
    }
    let (mut scalar, mut point) = (private, public);
    for _ in 0..COMPARED {
        let key = PrivateKey::new(scalar);
        let (secret, oracle) = (x25519.secret(&key), Portable.secret(&key));
        ensure(secret.public_key() == oracle.public_key(), "another public key than the oracle's")?;
        let shared = secret.diffie_hellman(&PublicKey::new(point));
        ensure(shared == oracle.diffie_hellman(&PublicKey::new(point)), "another agreement than the oracle's")?;
        let shared = shared.map_err(|_| "an ordinary point was refused")?;
        (scalar, point) = (*shared.as_bytes(), scalar);
    }
    Ok(())
}

fn ensure(holds: bool, check: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(check) }
}

/// The bytes of 64 hexadecimal digits.
const fn bytes(digits: &[u8; 64]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 64 {
        let digit = digits[at];
        let value = if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        bytes[at / 2] = bytes[at / 2] << 4 | value;
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringfort_core::crypto::{Key, Secret};

    use super::*;
    use crate::{ALL, AwsLc};

    #[test]
    fn all_pass() {
        for x25519 in ALL {
            assert_eq!(self_test(x25519), Ok(()));
        }
    }

    /// The portable library, with one mistake.
    #[derive(Debug)]
    struct Mistaken(Mistake);

    #[derive(Clone, Copy, Debug)]
    enum Mistake {
        /// The last bit of a result.
        Result,
        /// The top bit of a point counts.
        TopBit,
        /// Points of low order are as good as others.
        LowOrder,
        /// Another public key.
        Public,
        /// Only results for this scalar's bit are wrong, which no published vector shows.
        Rare,
    }

    struct MistakenSecret(PrivateKey, Mistake);

    impl X25519 for Mistaken {
        fn name(&self) -> &'static str {
            "mistaken"
        }

        fn secret(&self, key: &PrivateKey) -> Box<dyn Secret> {
            Box::new(MistakenSecret(key.clone(), self.0))
        }
    }

    impl Secret for MistakenSecret {
        fn public_key(&self) -> PublicKey {
            let mut public = *self.0.public_key().as_bytes();
            public[0] ^= u8::from(matches!(self.1, Mistake::Public));
            PublicKey::new(public)
        }

        fn private_key(&self) -> PrivateKey {
            self.0.clone()
        }

        fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
            let mut point = *public.as_bytes();
            if matches!(self.1, Mistake::TopBit) && point[31] & 0x80 != 0 {
                point[0] ^= 1;
            }
            let wrong = match self.1 {
                Mistake::Result => true,
                Mistake::Rare => self.0.as_bytes()[5] % 8 == 3,
                _ => false,
            };
            match self.0.diffie_hellman(&PublicKey::new(point)) {
                Ok(shared) => {
                    let mut shared = *shared.as_bytes();
                    shared[31] ^= u8::from(wrong);
                    Ok(Key::new(shared))
                }
                Err(LowOrder) if matches!(self.1, Mistake::LowOrder) => Ok(Key::new([0; 32])),
                Err(LowOrder) => Err(LowOrder),
            }
        }
    }

    #[test]
    fn mistakes_are_found() {
        for (mistake, check) in [
            (Mistake::Result, "known answer: an agreement"),
            (Mistake::TopBit, "known answer: an agreement"),
            (Mistake::LowOrder, "a point of low order was taken"),
            (Mistake::Public, "known answer: a public key"),
            (Mistake::Rare, "another agreement than the oracle's"),
        ] {
            let error = SelfTestError { name: "mistaken", check };
            assert_eq!(self_test(&Mistaken(mistake)), Err(error), "{mistake:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn aws_lc_computes_what_the_oracle_computes(scalar: [u8; 32], point: [u8; 32]) {
            let key = PrivateKey::new(scalar);
            let (secret, oracle) = (AwsLc.secret(&key), Portable.secret(&key));
            prop_assert_eq!(secret.public_key(), oracle.public_key());
            let point = PublicKey::new(point);
            prop_assert_eq!(secret.diffie_hellman(&point), oracle.diffie_hellman(&point));
        }

        /// Encodings at and above the prime: 2^255 − 19 and a little more, with and without the top bit.
        #[test]
        fn points_that_are_not_reduced_are_taken_alike(low in 0xe0_u8.., top: bool, scalar: [u8; 32]) {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (low, if top { 0xff } else { 0x7f });
            let key = PrivateKey::new(scalar);
            let point = PublicKey::new(point);
            prop_assert_eq!(AwsLc.secret(&key).diffie_hellman(&point), Portable.secret(&key).diffie_hellman(&point));
        }
    }
}
