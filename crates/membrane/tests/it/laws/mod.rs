//! The laws of the design, each tried on random histories through the library and every store.
//!
//! What may happen (`ops`) and what plain lists make of it (`plain`, with the texts of `drafts`) are those
//! of the core's laws; `driven` does the same with a [`membrane::Chat`]. The laws stand in `cutting`,
//! `merging`, `comparing` and `keeping`.

mod campaign;
mod comparing;
mod cutting;
mod driven;
mod keeping;
mod merging;

#[path = "../../../../membrane-core/tests/it/laws/drafts.rs"]
mod drafts;
#[path = "../../../../membrane-core/tests/it/laws/ops.rs"]
mod ops;
#[path = "../../../../membrane-core/tests/it/laws/plain.rs"]
mod plain;

/// What the plain lists want to know of the world that they are compared with.
mod world {
    /// A way to merge that has laws.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Lawful {
        Sequential,
        Interleave,
    }
}
