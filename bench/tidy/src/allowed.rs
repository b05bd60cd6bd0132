//! What is excepted from a rule, and why.

/// A file, or all files below a directory, that a rule does not hold for.
pub struct Exception {
    /// The name of the rule.
    pub rule: &'static str,
    /// A path from the root of the repository, or its beginning.
    pub path: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl Exception {
    /// Whether it is about this rule and this file.
    #[must_use]
    pub fn covers(&self, rule: &str, path: &str) -> bool {
        self.rule == rule && path.starts_with(self.path)
    }
}

/// Exceptions that stay. One that excepts nothing is an error.
pub const PERMANENT: &[Exception] = &[
    Exception {
        rule: "binary",
        path: "bench/fuzz/corpus/",
        reason: "the inputs of the fuzz targets are bytes that a network could send",
    },
    Exception {
        rule: "circles",
        path: "engine/aead/src/",
        reason: "what its tests notice is proved for each byte of its source (mutants.killed), also of its pages. A \
                 key has the plan of its ciphers, providers make those and are tested with whole keys; the files of a \
                 kernel are steps of one pass over one state",
    },
];

/// Whether a rule does not hold for a file.
#[must_use]
pub fn covers(rule: &str, path: &str) -> bool {
    PERMANENT.iter().any(|exception| exception.covers(rule, path))
}
