//! kplane-tests.
