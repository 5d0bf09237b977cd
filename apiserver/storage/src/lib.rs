//! kplane-storage.
