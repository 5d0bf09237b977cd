//! kplane-apiserver.

fn main() {}
