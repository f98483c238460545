//! Stub.
pub fn main() {}
