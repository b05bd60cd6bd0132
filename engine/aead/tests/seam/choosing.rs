//! The providers pass their own tests here, and for each class of packets one of them is chosen.

use ringfort_aead::{PACKET_SIZES, Provider, Selection, Suite, TRAIN_COUNTS, choose};

#[test]
fn every_provider_passes_its_self_test() {
    for suite in Suite::ALL {
        for provider in Provider::available(suite) {
            assert_eq!(provider.self_test(suite), Ok(()));
        }
    }
}

/// What is measured is looked at for presence only: who is the fastest by given figures, the crate's own tests say.
#[test]
fn every_provider_is_measured_in_every_class() {
    let choice = choose().unwrap();
    assert_eq!(choice.selection, Selection::Auto);
    assert!(choice.failures.is_empty());
    let classes: Vec<_> =
        PACKET_SIZES.iter().flat_map(|len| TRAIN_COUNTS.iter().map(move |count| (*len, *count))).collect();
    for chosen in &choice.suites {
        let measured: Vec<_> = chosen.measurements.iter().map(|measured| measured.provider).collect();
        assert_eq!(measured, Provider::available(chosen.suite).collect::<Vec<_>>());
        for measured in &chosen.measurements {
            let figures = measured.figures.iter().map(|figure| (figure.packet_len, figure.train_count));
            assert_eq!(figures.collect::<Vec<_>>(), classes);
        }
        for &(len, count) in &classes {
            assert!(measured.contains(&choice.plan().provider(chosen.suite, count, len)));
        }
        let shown = chosen.to_string();
        assert!(shown.starts_with(&format!("{}: {}, the fastest here", chosen.suite, chosen.summary())), "{shown}");
    }
}

#[test]
fn a_fixed_provider_is_taken_whatever_its_speed() {
    for suite in Suite::ALL {
        for provider in Provider::available(suite) {
            let choice = Selection::Fixed(provider).resolve().unwrap();
            for len in [0, 64, 1420, 65503] {
                for count in [1, 64] {
                    assert_eq!(choice.plan().provider(suite, count, len), provider);
                }
            }
            assert!(choice.to_string().contains("as configured"));
            // There is nothing to choose, so no time is spent on figures.
            assert!(choice.suites[suite as usize].measurements.is_empty());
        }
    }
}
