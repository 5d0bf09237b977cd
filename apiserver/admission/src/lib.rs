//! kplane-admission.
