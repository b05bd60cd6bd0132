//! Arguments that do not fit are refused before a byte is written.

use ringfort_aead::{
    Geometry, GeometryError, Message, OpenKey, Plan, Provider, SEGMENT_LEN_MAX, SealKey, Selection, Source, Suite,
    TAG_LEN, TrainError, UnknownProvider, UnknownSuite,
};

use crate::common::{SUITE, bytes, open_key, providers, seal_key};

#[test]
fn impossible_geometries() {
    for count in [0, 65, usize::MAX] {
        assert_eq!(Geometry::new(100, 100, count), Err(GeometryError::Count { count }));
    }
    for stride in [0, 31, SEGMENT_LEN_MAX + 1, usize::MAX] {
        assert_eq!(Geometry::new(stride, 32, 2), Err(GeometryError::Stride { stride }));
    }
    for last in [0, 31, 101, usize::MAX] {
        assert_eq!(Geometry::new(100, last, 2), Err(GeometryError::Last { last, stride: 100 }));
    }
}

#[test]
fn the_edges_of_geometry() {
    let geometry = Geometry::new(32, 32, 64).unwrap();
    assert_eq!((geometry.total_len(), geometry.plaintext_len(0)), (2048, 0));
    let geometry = Geometry::new(SEGMENT_LEN_MAX, 33, 64).unwrap();
    assert_eq!(geometry.total_len(), 63 * 65535 + 33);
    assert_eq!((geometry.segment_len(62), geometry.segment_len(63)), (65535, 33));
    assert_eq!((geometry.plaintext_len(62), geometry.plaintext_len(63)), (65503, 1));
}

#[test]
fn a_received_datagram_is_cut_at_its_stride() {
    let cut = |len, stride| Geometry::of_received(len, stride).map(|g| (g.stride(), g.last(), g.count()));
    assert_eq!(cut(1452, 1452), Ok((1452, 1452, 1)));
    assert_eq!(cut(100, 1452), Ok((100, 100, 1)));
    assert_eq!(cut(2904, 1452), Ok((1452, 1452, 2)));
    assert_eq!(cut(1452 + 32, 1452), Ok((1452, 32, 2)));
    assert_eq!(cut(1452 + 31, 1452), Err(GeometryError::Last { last: 31, stride: 1452 }));
    assert_eq!(cut(64 * 32, 32), Ok((32, 32, 64)));
    assert_eq!(cut(64 * 32 + 1, 32), Err(GeometryError::Count { count: 65 }));
    assert_eq!(cut(100, 0), Err(GeometryError::Stride { stride: 0 }));
    assert_eq!(cut(31, 100), Err(GeometryError::Stride { stride: 31 }));
    assert_eq!(cut(0, 100), Err(GeometryError::Stride { stride: 0 }));
}

#[test]
fn trains_that_do_not_fit_change_nothing() {
    let geometry = Geometry::new(100, 50, 3).unwrap();
    for provider in providers() {
        let (seal, open) = (seal_key(provider), open_key(provider));
        let original = bytes(249, 1);
        let mut buf = original.clone();
        let short = TrainError::BufferTooShort { needed: 250, available: 249 };
        assert_eq!(seal.seal_train(0, &mut buf, geometry), Err(short));
        assert_eq!(seal.seal_train_from(0, &[Source::default(); 3], &mut buf, geometry), Err(short));
        assert_eq!(open.open_train(&[0; 3], &mut buf, geometry), Err(short));
        assert_eq!(buf, original);

        let original = bytes(250, 1);
        let mut buf = original.clone();
        for given in [0, 2, 4] {
            let mismatch = TrainError::CountMismatch { given, segments: 3 };
            assert_eq!(open.open_train(&vec![0; given], &mut buf, geometry), Err(mismatch));
            assert_eq!(seal.seal_train_from(0, &vec![Source::default(); given], &mut buf, geometry), Err(mismatch));
        }
        for first in [u64::MAX - 2, u64::MAX] {
            let wraps = TrainError::CounterWraps { first, count: 3 };
            assert_eq!(seal.seal_train(first, &mut buf, geometry), Err(wraps));
            assert_eq!(seal.seal_train_from(first, &[Source::default(); 3], &mut buf, geometry), Err(wraps));
        }
        let mut sources = [Source { head: &original[..60], body: &original[..8] }; 3];
        let too_long = TrainError::SourceTooLong { segment: 2, len: 68, room: 18 };
        assert_eq!(seal.seal_train_from(0, &sources, &mut buf, geometry), Err(too_long));
        assert_eq!(buf, original);
        sources[2] = Source { head: &original[..10], body: &original[..8] };
        assert_eq!(seal.seal_train_from(0, &sources, &mut buf, geometry), Ok(()));
    }
}

#[test]
fn single_messages_that_do_not_fit_change_nothing() {
    for provider in providers() {
        let seal = seal_key(provider);
        let mut destination = vec![0xee; 40];
        let short = TrainError::BufferTooShort { needed: 25 + TAG_LEN, available: 40 };
        assert_eq!(seal.seal_from(0, &[1; 25], &mut destination), Err(short));
        assert_eq!(seal.seal_from(0, &[], &mut destination[..15]).map_err(|_| ()), Err(()));
        assert_eq!(destination, [0xee; 40]);
        let mut long = vec![0xee; SEGMENT_LEN_MAX + 1];
        let too_long = TrainError::TooLong { len: SEGMENT_LEN_MAX + 1 };
        assert_eq!(seal.seal(0, &mut long, &mut [0; TAG_LEN]), Err(too_long));
        assert_eq!(seal.seal_from(0, &[], &mut long), Err(too_long));
        assert!(long.iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn names_of_suites() {
    for suite in Suite::ALL {
        assert_eq!(suite.to_string().parse(), Ok(suite));
    }
    let unknown = UnknownSuite { name: "rc4".to_owned() };
    assert_eq!(unknown.to_string(), r#"unknown cipher suite "rc4": it is one of chacha20poly1305, aes256gcm"#);
    assert_eq!("rc4".parse::<Suite>(), Err(unknown));
}

#[test]
fn names_of_providers() {
    for &provider in Provider::ALL {
        assert_eq!(provider.to_string().parse(), Ok(provider));
        assert_eq!(provider.name().parse(), Ok(Selection::Fixed(provider)));
        assert_eq!(Selection::Fixed(provider).to_string(), provider.name());
    }
    assert_eq!("auto".parse(), Ok(Selection::Auto));
    for name in ["", "AUTO", "aws", "aws-lc ", "openssl"] {
        assert_eq!(name.parse::<Selection>(), Err(UnknownProvider { name: name.to_owned() }));
    }
    let message = "openssl".parse::<Selection>().unwrap_err().to_string();
    let known = "rustcrypto, aws-lc, train, train-avx2, vaes, vaes512";
    assert_eq!(message, format!(r#"unknown AEAD provider "openssl": it is one of {known}"#));
}

#[test]
fn debug_shows_no_secret() {
    let key = [0x7b; 32];
    let text = [0x7b; 20];
    for provider in providers() {
        let shown = [
            format!("{:?}", SealKey::new(Plan::fixed(provider), SUITE, &key)),
            format!("{:#?}", OpenKey::new(Plan::fixed(provider), SUITE, &key)),
            format!("{:?}", Source { head: &text, body: &text }),
        ];
        for shown in shown {
            assert!(!shown.contains("123") && !shown.to_lowercase().contains("7b"), "{shown}");
        }
    }
}

#[test]
fn batches_that_do_not_fit_change_nothing() {
    for provider in providers() {
        let (seal, open) = (seal_key(provider), open_key(provider));
        let mut texts = vec![[7; 20]; 65];
        let mut batch: Vec<_> = texts.iter_mut().map(|text| Message::of_body(1, text).unwrap()).collect();
        assert_eq!(seal.seal_batch(&mut batch), Err(TrainError::TooMany { count: 65 }));
        assert_eq!(open.open_batch(&mut batch), Err(TrainError::TooMany { count: 65 }));
        assert_eq!(seal.seal_batch(&mut []), Ok(()));
        assert_eq!(open.open_batch(&mut []).unwrap().count(), 0);
        assert_eq!(texts, vec![[7; 20]; 65]);

        let (mut short, mut long) = (vec![7; 20], vec![7; SEGMENT_LEN_MAX + 1 + TAG_LEN]);
        let mut batch = [Message::of_body(0, &mut short).unwrap(), Message::of_body(1, &mut long).unwrap()];
        let too_long = TrainError::TooLong { len: SEGMENT_LEN_MAX + 1 };
        assert_eq!(seal.seal_batch(&mut batch), Err(too_long));
        assert_eq!(open.open_batch(&mut batch), Err(too_long));
        assert_eq!(short, [7; 20]);
        assert!(Message::of_body(0, &mut short[..TAG_LEN - 1]).is_none());
    }
}
