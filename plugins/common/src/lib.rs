//! kplane-plugin-common.
