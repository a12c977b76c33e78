//! The laboratory's program.

fn main() {}
