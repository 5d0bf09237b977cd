//! kplane-controllers.
