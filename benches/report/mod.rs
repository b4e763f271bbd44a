//! What was measured, and what is said about it.
//!
//! For `nda bench`: [`model`] is the data that measuring fills in and everything else reads. Nothing here measures.

pub mod check;
pub mod doubts;
pub mod figures;
pub mod json;
pub mod judge;
pub mod machine;
pub mod model;
pub mod page;
pub mod pairs;
pub mod ratios;
pub mod table;
pub mod targets;
pub mod verdict;
mod words;

#[cfg(test)]
mod fabricated;
