//! How trains leave, and the kernels on which they must not leave as they are.
//!
//! Linux 7.0-rc1 (commit b10b446) broke `UDP_SEGMENT` for trains whose last segment is as long as the others: with some
//! drivers their headers and checksums come out wrong, and nobody is told. 7.1.5 has all of the corrections (commits
//! 78effd8, 5f17ae0). A train with a shorter last segment takes another way through that code and is sound, so on
//! these kernels every train is made [`Segmentation::Ragged`]. The damage is done where the train is cut up: for a
//! virtual machine that is its host's kernel, which cannot be asked; hence the option.

use nix::sys::utsname::uname;

/// How a train is left to the kernel to be cut up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// As it is.
    #[default]
    On,
    /// Only if its last segment is shorter than the others. Whoever makes trains sees to it that they are.
    Ragged,
    /// Not at all: each datagram leaves by itself.
    Off,
}

/// Releases with the fault, the first and the first without it, by major, minor and patch number.
const FAULTY: std::ops::Range<[u32; 3]> = [7, 0, 0]..[7, 1, 5];

impl Segmentation {
    /// What suits the kernel that runs.
    #[must_use]
    pub fn for_this_kernel() -> Self {
        let release = uname().ok().map(|names| names.release().to_string_lossy().into_owned());
        release.map_or(Self::On, |release| Self::for_release(&release))
    }

    /// What suits a kernel with this release, as `uname -r` prints it. A release that is not understood has no known
    /// fault. Release candidates count as what they became.
    #[must_use]
    pub fn for_release(release: &str) -> Self {
        if version(release).is_some_and(|version| FAULTY.contains(&version)) { Self::Ragged } else { Self::On }
    }

    /// Whether a train of `bytes` may be left to the kernel.
    pub(crate) fn allows(self, bytes: usize, stride: usize) -> bool {
        match self {
            Self::On => true,
            Self::Ragged => !bytes.is_multiple_of(stride),
            Self::Off => false,
        }
    }
}

/// `7.1.4-arch1` is `[7, 1, 4]`, and so is `7.1.4`; `7.0-rc3` is `[7, 0, 0]`.
fn version(release: &str) -> Option<[u32; 3]> {
    let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = numbers.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
    Some([major, minor, patch])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_with_the_fault_get_ragged_trains() {
        for release in [
            "7.0.0",
            "7.0",
            "7.0-rc3",
            "7.0.0-rc1-next-20260301",
            "7.0.14-pve",
            "7.1.0",
            "7.1-rc6",
            "7.1.4",
            "7.1.4-arch1",
        ] {
            assert_eq!(Segmentation::for_release(release), Segmentation::Ragged, "{release}");
        }
        for release in [
            "6.1.0",
            "6.18.44-fc",
            "6.18.44-fc-v782",
            "6.17.0-41-generic",
            "7.1.5",
            "7.1.5-arch1",
            "7.1.12",
            "7.2-rc1",
            "7.10.1",
            "17.0.1",
            "70.0",
            "8.0.0",
        ] {
            assert_eq!(Segmentation::for_release(release), Segmentation::On, "{release}");
        }
    }

    #[test]
    fn what_is_no_release_has_no_known_fault() {
        for release in ["", "7", "7.", ".7.0", "v7.0.1", "linux", "7.x", "99999999999999999999.0.1", "-7.0"] {
            assert_eq!(Segmentation::for_release(release), Segmentation::On, "{release:?}");
        }
        // The test machine has a release that is understood.
        let release = uname().expect("a kernel").release().to_string_lossy().into_owned();
        assert!(version(&release).is_some(), "{release}");
    }

    proptest! {
        #[test]
        fn a_range_of_releases_has_the_fault(
            major in 5..9u32, minor in 0..20u32, patch in 0..60u32, rest in "(-[a-z0-9.]*)?",
        ) {
            let faulty = major == 7 && (minor == 0 || minor == 1 && patch < 5);
            let expected = if faulty { Segmentation::Ragged } else { Segmentation::On };
            prop_assert_eq!(Segmentation::for_release(&format!("{major}.{minor}.{patch}{rest}")), expected);
        }

        #[test]
        fn any_text_is_taken(release in ".*") {
            let _ = Segmentation::for_release(&release);
        }
    }
}
