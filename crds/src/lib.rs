//! kplane-crds.
