//! The real binary on real files: what it prints, what it keeps, and what it ends with.

#[cfg(test)]
mod configuration;
#[cfg(test)]
mod exits;
#[cfg(test)]
mod feeding;
#[cfg(test)]
mod json;
#[cfg(test)]
mod places;
#[cfg(test)]
mod served;
#[cfg(test)]
mod tool;
#[cfg(test)]
mod tour;
