//! What calls do that costs something: one table, for what is estimated beforehand and for what is counted when they run.

/// Of a character that is looked at.
pub(crate) const CHARACTER: f64 = 0.1;
/// Of a character of a pattern.
pub(crate) const PATTERN: f64 = 0.25;
/// Of a list that is made.
pub(crate) const LIST: u64 = 10;
/// Of a map that is made.
pub(crate) const MAP: u64 = 30;
/// Of a struct that is made.
pub(crate) const STRUCT: u64 = 40;
/// Of a question to the authorizer.
pub(crate) const CHECK: u64 = 350_000;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    /// Nothing that grows with its operands.
    Little,
    /// It asks the authorizer.
    Check,
    /// It reads a selector.
    Selector,
    /// It compares the items of a list, or the characters of a text.
    Items,
    /// It looks at a text, and makes one of its length.
    Text,
    /// It reads a text, so many times. Estimates do not count that, as upstream's do not.
    Parse(f64),
    Replace,
    Split,
    Join,
    Find,
    /// `text`: the address comes as a text.
    ContainsIp {
        text: bool,
    },
    /// `text`: the network comes as a text.
    ContainsCidr {
        text: bool,
    },
    Validate,
    StartsWith,
    ToBytes,
    FromBytes,
    Quote,
    Format,
    /// It makes a text of a number, a time or the like.
    ScalarToText,
    InList,
    /// It compares two values.
    Compare,
    AddText,
    AddList,
    Matches,
    Contains,
}

/// What a call of a function does, whose operands are those of an overload.
pub(crate) fn of(function: &str, overload: &str) -> Work {
    match function {
        "check" => Work::Check,
        "fieldSelector" | "labelSelector" => Work::Selector,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Work::Items,
        "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => Work::Text,
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => Work::Parse(1.0),
        "ip" if overload != "cidr_ip" => Work::Parse(1.0),
        "ip.isCanonical" => Work::Parse(2.0),
        "replace" => Work::Replace,
        "split" => Work::Split,
        "join" => Work::Join,
        "find" | "findAll" => Work::Find,
        "containsIP" => Work::ContainsIp { text: overload == "cidr_contains_ip_string" },
        "containsCIDR" => Work::ContainsCidr { text: overload == "cidr_contains_cidr_string" },
        "validate" => Work::Validate,
        _ => standard(overload),
    }
}

fn standard(overload: &str) -> Work {
    match overload {
        "starts_with_string" | "ends_with_string" => Work::StartsWith,
        "string_to_bytes" => Work::ToBytes,
        "bytes_to_string" => Work::FromBytes,
        "strings_quote" => Work::Quote,
        "string_format" => Work::Format,
        "bool_to_string"
        | "int64_to_string"
        | "uint64_to_string"
        | "double_to_string"
        | "duration_to_string"
        | "timestamp_to_string" => Work::ScalarToText,
        "in_list" => Work::InList,
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => Work::Compare,
        "add_string" | "add_bytes" => Work::AddText,
        "add_list" => Work::AddList,
        "matches_string" | "matches" => Work::Matches,
        "contains_string" => Work::Contains,
        _ => Work::Little,
    }
}
