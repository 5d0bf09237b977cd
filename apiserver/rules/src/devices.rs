//! Selectors of devices: expressions about one `device` of dynamic resource allocation (KEP-4381).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::check::{Environment, Type};
use crate::estimate::estimate;
use crate::program::checked;
use crate::schema::{Decl, Field, Object, Shape};

/// The longest text of a selector, in bytes.
pub const DEVICE_SELECTOR_BYTES: usize = 10 * 1024;
/// What a selector may cost at most.
const MOST: u64 = 1_000_000;
/// How many attributes and capacities a device has at most.
const ENTRIES: u64 = 32;
/// How long the value of an attribute is at most.
const VALUE: u64 = 64;
/// How long the name of a driver is at most.
const DRIVER: u64 = 63;

/// Why a selector of devices is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSelectorError {
    /// It does not compile, or to something else than a truth; the detail of an `Invalid value` error.
    Invalid(String),
    /// It may cost too much.
    TooCostly,
}

/// What is wrong with a selector of devices.
pub fn check_device_selector(source: &str) -> Result<(), DeviceSelectorError> {
    let environment = Environment::new([("device", device().of_type())]);
    let checked = checked(source, &environment)
        .map_err(|told| DeviceSelectorError::Invalid(format!("compilation failed: {told}")))?;
    let result = checked.type_of(&checked.expr);
    if !matches!(result, Type::Bool | Type::Dyn) {
        let told = format!("must evaluate to bool or the unknown type, not {}", result.written());
        return Err(DeviceSelectorError::Invalid(told));
    }
    if estimate(&checked, device()).max > MOST { Err(DeviceSelectorError::TooCostly) } else { Ok(()) }
}

/// `device`.
fn device() -> &'static Decl {
    static DEVICE: OnceLock<Decl> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let sized = |shape, max| Decl { shape, max, min_size: 1 };
        let by_domain = |of: Decl| {
            let by_id = sized(Shape::Map(Arc::new(of)), ENTRIES);
            sized(Shape::Map(Arc::new(by_id)), ENTRIES)
        };
        let fields = [
            ("driver", sized(Shape::Scalar(Type::String), DRIVER)),
            ("attributes", by_domain(sized(Shape::Dyn, VALUE))),
            ("capacity", by_domain(sized(Shape::Scalar(Type::Named(QUANTITY)), u64::MAX))),
            ("allowMultipleAllocations", sized(Shape::Scalar(Type::Bool), 1)),
        ];
        let fields: BTreeMap<_, _> = fields
            .into_iter()
            .map(|(name, decl)| (Arc::from(name), Field { name: name.into(), decl: Arc::new(decl) }))
            .collect();
        let object = Object { name: "kubernetes.DRADevice".to_owned(), fields, open: false };
        sized(Shape::Object(Arc::new(object)), u64::MAX)
    })
}

/// The name of the type of quantities.
const QUANTITY: &str = "kubernetes.Quantity";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_about_a_device() {
        let check = check_device_selector;
        for good in [
            "device.driver == 'gpu.example.com'",
            "device.attributes['gpu.example.com'].model.startsWith('A')",
            "device.attributes['gpu.example.com'].ready",
            "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('10Gi'))",
            "device.capacity['x'].memory.compareTo(quantity('10Gi')) >= 0",
            "device.attributes['x'].version.isGreaterThan(semver('1.2.3'))",
            "cel.bind(a, device.attributes['x'], a.one && a.two)",
            "device.allowMultipleAllocations == true",
            "device.attributes.exists(domain, domain == 'x')",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let told = |source: &str| match check(source) {
            Err(DeviceSelectorError::Invalid(told)) => told,
            other => panic!("{source}: {other:?}"),
        };
        assert!(told("device.attributes[").starts_with("compilation failed: ERROR: <input>:1:"));
        assert!(told("device.name == 'x'").contains("undefined field 'name'"));
        assert!(told("node.name == 'x'").contains("undeclared reference to 'node'"));
        assert_eq!(told("device.driver"), "must evaluate to bool or the unknown type, not string");
        let nested = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a + b + c + d != ''))))";
        assert_eq!(check(nested), Err(DeviceSelectorError::TooCostly));
    }
}
