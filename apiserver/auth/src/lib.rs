//! kplane-auth.
