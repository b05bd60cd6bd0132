//! What is known of the peers, as an operator asks for it.

pub mod words;
