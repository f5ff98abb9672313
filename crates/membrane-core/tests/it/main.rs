//! What the rules promise, tested from outside.
//!
//! `laws` are property tests over random histories; `beta` compares with reference values. Examples of a
//! single function are not here: they stand beside it.

#[cfg(test)]
mod beta;
#[cfg(test)]
mod laws;
