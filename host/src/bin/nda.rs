//! nda
fn main() {}
