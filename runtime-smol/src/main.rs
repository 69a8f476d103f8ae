//! The smol server.

fn main() {}
