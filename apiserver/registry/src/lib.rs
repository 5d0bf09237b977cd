//! kplane-registry.
