//! Named formats of texts.

use base64::Engine;
use kplane_machinery::names;
use kplane_machinery::time::Time;

use super::{Registry, no_overload};
use crate::value::{Special, Value};

/// A format.
#[derive(Debug)]
pub(crate) struct Format {
    name: &'static str,
    check: fn(&str) -> Vec<String>,
    /// How long its pattern is, for costs.
    pub pattern: u64,
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The longest pattern of a format that is about names.
pub(crate) const LONGEST_PATTERN: u64 = 128;

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", check: names::is_dns1123_label, pattern: 30 },
    Format { name: "dns1123Subdomain", check: names::is_dns1123_subdomain, pattern: 60 },
    Format { name: "dns1035Label", check: names::is_dns1035_label, pattern: 30 },
    Format { name: "qualifiedName", check: names::is_qualified_name, pattern: 60 },
    Format { name: "dns1123LabelPrefix", check: |text| names::name_is_dns_label(text, true), pattern: 30 },
    Format {
        name: "dns1123SubdomainPrefix",
        check: |text| names::name_is_dns_subdomain(text, true),
        pattern: 60,
    },
    Format {
        name: "dns1035LabelPrefix",
        check: |text| names::name_is_dns1035_label(text, true),
        pattern: 30,
    },
    Format { name: "labelValue", check: names::is_valid_label_value, pattern: 40 },
    Format { name: "uri", check: |text| super::url::parse(text).err().into_iter().collect(), pattern: 1000 },
    Format { name: "uuid", check: |text| told(is_uuid(text), "does not match the UUID format"), pattern: 36 },
    Format {
        name: "byte",
        check: |text| told(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64"),
        pattern: 86,
    },
    Format {
        name: "date",
        check: |text| {
            told(text.len() == 10 && Time::parse(&format!("{text}T00:00:00Z")).is_ok(), "invalid date")
        },
        pattern: 30,
    },
    Format {
        name: "datetime",
        check: |text| told(Time::parse(text).is_ok(), "invalid datetime"),
        pattern: 60,
    },
];

fn told(holds: bool, otherwise: &str) -> Vec<String> {
    if holds { Vec::new() } else { vec![otherwise.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    plain.len() == 32
        && plain.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (groups == [8, 4, 4, 4, 12] || groups == [32])
}

fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

macro_rules! formats {
    ($d:expr, $($function:literal => $name:literal),* $(,)?) => {
        $($d.add($function, "format_named: () -> Format", |_, _| match named($name) {
            Some(format) => Ok(Value::special(Special::Format(format))),
            None => no_overload(),
        });)*
    };
}

pub(super) fn declare(d: &mut Registry) {
    formats!(
        d,
        "format.dns1123Label" => "dns1123Label",
        "format.dns1123Subdomain" => "dns1123Subdomain",
        "format.dns1035Label" => "dns1035Label",
        "format.qualifiedName" => "qualifiedName",
        "format.dns1123LabelPrefix" => "dns1123LabelPrefix",
        "format.dns1123SubdomainPrefix" => "dns1123SubdomainPrefix",
        "format.dns1035LabelPrefix" => "dns1035LabelPrefix",
        "format.labelValue" => "labelValue",
        "format.uri" => "uri",
        "format.uuid" => "uuid",
        "format.byte" => "byte",
        "format.date" => "date",
        "format.datetime" => "datetime",
    );
    d.add("format.named", "format_named_string: (string) -> optional(Format)", |_, args| match args {
        [Value::String(name)] => {
            Ok(named(name).map_or(Value::none(), |format| Value::special(Special::Format(format)).some()))
        }
        _ => no_overload(),
    });
    d.add("validate", "format_validate: Format.(string) -> optional(list(string))", |_, args| {
        let [Value::Special(special), Value::String(text)] = args else { return no_overload() };
        let Special::Format(format) = &**special else { return no_overload() };
        let told = (format.check)(text);
        Ok(if told.is_empty() {
            Value::none()
        } else {
            Value::list(told.into_iter().map(Value::from).collect()).some()
        })
    });
}
