//! kplane-schema.
