//! kplane-apiserver.
