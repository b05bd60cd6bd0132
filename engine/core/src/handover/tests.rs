use proptest::prelude::*;

use super::*;
use crate::part::{Count, Fill, Part, Reader};
use crate::replay::{ReplayWindow, WINDOW_SIZE};

fn bytes_of(part: &impl Part) -> Vec<u8> {
    let mut count = Count(0);
    part.put(&mut count);
    let mut bytes = vec![0; count.0];
    part.put(&mut Fill(&mut bytes));
    bytes
}

#[test]
fn a_list_that_says_to_be_long_takes_no_memory() {
    let bytes = u32::MAX.to_le_bytes();
    assert!(Vec::<u64>::take(&mut Reader::new(&bytes)).is_err());
    assert!(Vec::<WaitingPacket>::take(&mut Reader::new(&bytes)).is_err());
}

#[test]
fn a_window_in_order_is_short() {
    let mut window = ReplayWindow::new();
    (0..100_000).for_each(|counter| window.check_and_set(counter).unwrap());
    assert!(bytes_of(&window).len() <= 8 + 32 + 2 * 8);
}

#[test]
fn words_that_are_wrong_are_refused() {
    assert!(bool::take(&mut Reader::new(&[2])).is_err());
    assert!(crate::suite::Suite::take(&mut Reader::new(&[9])).is_err());
    assert!(std::net::IpAddr::take(&mut Reader::new(&[5, 0, 0, 0, 0])).is_err());
    assert!(crate::allowed_ips::Prefix::take(&mut Reader::new(&[4, 0, 0, 0, 0, 33])).is_err());
    let mut far = vec![0xff; 8];
    far.extend([0; 32]);
    assert!(ReplayWindow::take(&mut Reader::new(&far)).is_err());
}

proptest! {
    #[test]
    fn a_window_is_the_same_elsewhere(start in any::<u32>(),
                                      steps in prop::collection::vec(-9_000_i64..9_000, 0..300)) {
        let mut window = ReplayWindow::new();
        let mut counter = u64::from(start);
        for step in steps {
            let _ = window.check_and_set(counter);
            counter = window.next().saturating_add_signed(step);
        }
        let bytes = bytes_of(&window);
        let mut other = ReplayWindow::take(&mut Reader::new(&bytes)).unwrap();
        prop_assert!(other == window);
        for counter in window.next().saturating_sub(WINDOW_SIZE + 70)..window.next() + 70 {
            prop_assert_eq!(other.clone().check_and_set(counter), window.clone().check_and_set(counter));
        }
        prop_assert_eq!(other.check_and_set(counter), window.check_and_set(counter));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Handover::read(&bytes);
        let _ = Handover::read_body(&bytes);
    }
}
