//! Carrying out a change in a transaction.
