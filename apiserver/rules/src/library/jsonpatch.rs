//! JSON patches, as mutations construct them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Registry, no_overload};
use crate::check::Type;
use crate::schema::{Decl, Field, Object, Shape};
use crate::value::Value;

pub(super) fn declare(d: &mut Registry) {
    d.add(
        "jsonpatch.escapeKey",
        "string_jsonpatch_escapeKey_string: (string) -> string",
        |_, args| match args {
            [Value::String(text)] => Ok(Value::from(text.replace('~', "~0").replace('/', "~1"))),
            _ => no_overload(),
        },
    );
}

/// The type of one operation of a patch.
pub(crate) fn declared() -> Arc<Object> {
    static DECLARED: OnceLock<Arc<Object>> = OnceLock::new();
    DECLARED
        .get_or_init(|| {
            let text = || Decl { shape: Shape::Scalar(Type::String), max: u64::MAX, min_size: 2 };
            let mut fields = BTreeMap::new();
            for (name, decl) in [("op", text()), ("path", text()), ("from", text()), ("value", Decl::any())] {
                fields.insert(Arc::from(name), Field { name: name.into(), decl: Arc::new(decl) });
            }
            Arc::new(Object { name: "JSONPatch".to_owned(), fields, open: false })
        })
        .clone()
}
