//! kplaned.

fn main() {}
