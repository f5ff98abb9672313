//! The way back: what stands in an exported V1 file, compared with what SQL readers see in the keep itself.

mod extras;
mod files;
mod rendering;
mod sizes;
mod stage;
