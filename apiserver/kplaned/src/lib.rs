//! kplaned.
