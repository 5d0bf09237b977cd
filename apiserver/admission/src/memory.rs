//! What plugins remember of one write: [`Memory`].

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What plugins keep between the times that they are asked about one write, by their names.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<&'static str, Box<dyn Any + Send>>>);

impl Memory {
    /// Keeps something for a plugin.
    pub fn put<T: Any + Send>(&self, plugin: &'static str, kept: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(plugin, Box::new(kept));
    }

    /// What a plugin kept.
    pub fn take<T: Any + Send>(&self, plugin: &'static str) -> Option<T> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(plugin)?;
        kept.downcast().ok().map(|kept| *kept)
    }
}
