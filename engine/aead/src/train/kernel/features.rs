//! What the CPU must have.

use std::arch::is_x86_feature_detected;

/// Proof that this CPU has everything that the kernel is compiled for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features(());

macro_rules! features {
    ($($name:tt)*) => {
        /// Those of the features that are missing here. The detection also asks whether the system saves the registers.
        pub(super) fn missing() -> Vec<&'static str> {
            let mut missing = Vec::new();
            $(if !is_x86_feature_detected!($name) { missing.push($name); })*
            missing
        }

        impl Features {
            /// `None` on a CPU that lacks one of them.
            pub(super) fn detect() -> Option<Self> {
                let has_all = true $(&& is_x86_feature_detected!($name))*;
                has_all.then_some(Self(()))
            }
        }
    };
}

#[cfg(test)]
impl Features {
    /// For tests, which are nothing without it.
    pub(super) fn needed() -> Self {
        Self::detect().unwrap_or_else(|| panic!("the tests of the kernel need a CPU that has {:?}", missing()))
    }
}

features! { "avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512ifma" "avx512vbmi2" }
