//! The providers pass their own tests here, and one of them is chosen.

use ringfort_aead::{PACKET_SIZES, Provider, Selection, TRAIN_COUNTS, choose};

#[test]
fn every_provider_passes_its_self_test() {
    for provider in Provider::available() {
        assert_eq!(provider.self_test(), Ok(()));
    }
}

#[test]
fn the_choice_is_the_fastest_of_what_was_measured() {
    let choice = choose().unwrap();
    assert_eq!(choice.selection, Selection::Auto);
    assert_eq!(choice.measurements.len(), Provider::available().count());
    assert!(choice.failures.is_empty());
    let chosen = choice.measurements.iter().find(|measured| measured.provider == choice.provider).unwrap();
    assert!(choice.measurements.iter().all(|measured| chosen.mean_ns() <= measured.mean_ns()));
    for measured in &choice.measurements {
        let shapes: Vec<_> = measured.figures.iter().map(|figure| (figure.packet_len, figure.train_count)).collect();
        let expected: Vec<_> =
            PACKET_SIZES.iter().flat_map(|len| TRAIN_COUNTS.iter().map(move |count| (*len, *count))).collect();
        assert_eq!(shapes, expected);
        assert!(measured.figures.iter().all(|figure| figure.seal_ns > 0.0 && figure.open_ns > 0.0));
    }
    let shown = choice.to_string();
    assert!(shown.starts_with(&format!("AEAD: {}, the fastest here", choice.provider)), "{shown}");
    assert_eq!(shown.lines().count(), 1 + choice.measurements.len() * PACKET_SIZES.len(), "{shown}");
}

#[test]
fn a_fixed_provider_is_taken_whatever_its_speed() {
    for &provider in Provider::ALL {
        let choice = Selection::Fixed(provider).resolve().unwrap();
        assert_eq!(choice.provider, provider);
        assert!(choice.to_string().contains("as configured"));
    }
}
