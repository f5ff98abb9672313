//! The way back: what stands in an exported V1 file, compared with what SQL readers see in the keep itself.

mod extras;
mod files;
mod furniture;
mod rendering;
mod round_trip;
mod sizes;
mod stage;
