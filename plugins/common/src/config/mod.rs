//! The configuration: flag, then `KPLANE_*`, then the file, then the default, field by field.

mod file;
mod settings;

pub use file::ConfigFile;
pub use settings::{Environment, Overrides, Settings};
