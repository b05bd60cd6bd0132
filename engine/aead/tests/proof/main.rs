//! The proof that every provider computes what it should, and touches nothing else.
//!
//! * `sweep` compares every length with every count.
//! * `guards`, like `sweep`, works between guard pages.
//! * `long` has packets that are longer than those of the sweep.
//! * `accumulator` steers the arithmetic to its edges.
//! * `vectors` has what others have published.
//! * `forgeries` shows that nothing of a forgery is seen.
//! * `geometry` tries what nobody thought of.
//! * `coverage` fails where a provider that this CPU could run is left out.
//!
//! `quick` is a part of all that, for `scripts/mutants`.
//!
//! The oracle is always the RustCrypto crate itself, never a provider.

mod accumulator;
mod coverage;
mod forgeries;
mod geometry;
mod guarded;
mod guards;
mod long;
mod oracle;
mod quick;
mod subject;
mod sweep;
mod vectors;
