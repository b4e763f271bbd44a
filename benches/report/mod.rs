//! What was measured, and what is said about it.
//!
//! For `nda bench`: [`model`] is the data that measuring fills in and everything else reads. Nothing here measures.

pub mod figures;
pub mod model;
