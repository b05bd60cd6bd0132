//! `aws-lc-rs`, the Rust binding of AWS-LC, whose X25519 is s2n-bignum's verified assembly where there is one for the
//! CPU.
//!
//! The private key lives in an object of AWS-LC on the heap, which `OPENSSL_free` cleanses, and which is not locked.
//! The result comes in a buffer that the binding wipes. AWS-LC refuses a result of zeros, which is what points of low
//! order give.

use aws_lc_rs::agreement::{self, UnparsedPublicKey, agree};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use ringfort_core::crypto::{Key, LowOrder, PrivateKey, PublicKey, Secret, X25519};

/// AWS-LC.
#[derive(Clone, Copy, Debug)]
pub struct AwsLc;

struct AwsLcSecret {
    key: agreement::PrivateKey,
    public: PublicKey,
}

impl X25519 for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    fn secret(&self, key: &PrivateKey) -> Box<dyn Secret> {
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, key.as_bytes());
        let key = key.expect("any 32 bytes are a private key");
        let public = key.compute_public_key().expect("each private key has a public key");
        let public = public.as_ref().try_into().expect("public keys have 32 bytes");
        Box::new(AwsLcSecret { key, public: PublicKey::new(public) })
    }
}

impl Secret for AwsLcSecret {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn private_key(&self) -> PrivateKey {
        let key: Curve25519SeedBin<'_> = self.key.as_be_bytes().expect("it is a key of X25519");
        PrivateKey::copy_of(key.as_ref().try_into().expect("private keys have 32 bytes"))
    }

    fn diffie_hellman(&self, public: &PublicKey) -> Result<Key, LowOrder> {
        let public = UnparsedPublicKey::new(&agreement::X25519, public.as_bytes());
        agree(&self.key, public, LowOrder, |shared| Ok(Key::copy_of(shared.try_into().expect("results have 32 bytes"))))
    }
}
