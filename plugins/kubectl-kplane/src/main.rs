//! kubectl-kplane.

fn main() {}
