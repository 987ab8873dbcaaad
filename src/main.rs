//! The program. The lead writes its command line.

fn main() {}
