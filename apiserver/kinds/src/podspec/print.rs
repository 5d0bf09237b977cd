//! What tables show of pod specs: their containers and images.

use serde_json::Value;

use crate::val::{items, text};

/// The names of the containers of a template, and their images.
pub(crate) fn names_and_images(template: &Value) -> (String, String) {
    let containers = template.get("spec").map(|s| items(s, "containers")).unwrap_or(&[]);
    let join = |field: &str| containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}
