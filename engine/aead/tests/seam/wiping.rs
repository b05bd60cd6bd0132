//! A dropped key is no longer in memory: the process looks through its own, by way of /proc.

use std::fs::{File, read_to_string};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use ringfort_aead::{KEY_LEN, OpenKey, Plan, Provider, SealKey, Suite, TAG_LEN};

const MASK: u8 = 0x99;

/// A key that is in memory only masked until it is made. It is unlike any other bytes of the process.
fn masked_key(seed: u8) -> [u8; KEY_LEN] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(83) ^ seed)
}

/// Where the key lies in writable memory, stacks aside: a debug build leaves temporaries there. `here` is on this
/// stack.
fn find(masked: &[u8; KEY_LEN], here: usize) -> Vec<usize> {
    let memory = File::open("/proc/self/mem").unwrap();
    // Made before the list of mappings is read, and wiped after each use: it must not find its own copies.
    let mut window = vec![0u8; 1 << 20];
    let mut found = Vec::new();
    for line in read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap());
        if !rest.starts_with("rw") || (start..end).contains(&here) {
            continue;
        }
        for at in (start..end).step_by(window.len() - (KEY_LEN - 1)) {
            let len = window.len().min(end - at);
            let Ok(len) = memory.read_at(&mut window[..len], at as u64) else { break };
            let own = window.as_ptr() as usize..window.as_ptr() as usize + window.len();
            let same = |bytes: &[u8]| bytes.iter().zip(masked).all(|(byte, masked)| byte ^ MASK == *masked);
            let places = window[..len].windows(KEY_LEN).enumerate().filter(|(_, bytes)| same(bytes));
            found.extend(places.map(|(offset, _)| at + offset).filter(|place| !own.contains(place)));
            window.fill(0);
        }
    }
    found
}

#[test]
fn dropped_keys_leave_memory() {
    let pairs = Suite::ALL.iter().flat_map(|&suite| Provider::TESTED.iter().map(move |&provider| (provider, suite)));
    for (seed, (provider, suite)) in pairs.filter(|(provider, suite)| provider.is_available(*suite)).enumerate() {
        let masked = masked_key(seed as u8 + 0x31);
        let here = &raw const masked as usize;
        assert_eq!(find(&masked, here), Vec::<usize>::new(), "{provider}/{suite}: before there is a key");

        let key = masked.map(|byte| byte ^ MASK);
        let (seal, open) = {
            let plan = Plan::fixed(provider);
            (SealKey::new(plan, suite, &key), OpenKey::new(plan, suite, &key))
        };
        let (mut text, mut tag) = ([1; 200], [0; TAG_LEN]);
        seal.seal(1, &mut text, &mut tag).unwrap();
        open.open(1, &mut [&text[..], &tag].concat()).unwrap();
        assert_eq!(find(&masked, here).len(), 2, "{provider}/{suite}: one for each half, or this test sees nothing");

        drop(black_box((seal, open)));
        assert_eq!(find(&masked, here), [], "{provider}/{suite}: after the drop");
    }
}
