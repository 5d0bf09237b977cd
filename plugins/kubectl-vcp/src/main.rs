//! kubectl-vcp.

fn main() {}
