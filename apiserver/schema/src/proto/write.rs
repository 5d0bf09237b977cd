//! From JSON to a message, in one pass: from its text as from a value, without another value in between.
//!
//! What a [`Deserializer`] gives is written as it comes, so that fields stand in the order of the JSON. Protobuf allows
//! that, and who reads does not mind.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::schema::{Property, Schema};
use kplane_machinery::time::Time;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::MAX_DEPTH;
use super::text::{Json, literal};
use super::wire::{nested, put_bytes, put_float, put_integer};
use crate::table::{Shape, shape};

/// Appends the fields of a message.
pub(super) fn message<'de, D: Deserializer<'de>>(
    schema: &Schema,
    value: D,
    out: &mut Vec<u8>,
) -> Result<(), D::Error> {
    value.deserialize_any(Message { schema, out })
}

/// The outermost message, which no field is around.
struct Message<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.schema))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        members(self.schema, map, self.out, 0)
    }
}

fn name_of(schema: &Schema) -> &str {
    schema.type_name.as_deref().unwrap_or("a scalar")
}

fn mismatch<E: Error>(schema: &Schema, value: impl fmt::Display) -> E {
    E::custom(format!("the value {value} cannot be written as {}", name_of(schema)))
}

/// The fields of a struct.
fn members<'de, A: MapAccess<'de>>(
    schema: &Schema,
    mut map: A,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), A::Error> {
    if depth > MAX_DEPTH {
        return Err(A::Error::custom("exceeded max depth"));
    }
    if schema.properties.iter().any(|property| property.number >> 10 != 0) {
        // Those embedded in one message stand in it together: they are gathered first.
        let mut given = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            given.insert(name, value);
        }
        return packed(schema, &given, out, depth).map_err(A::Error::custom);
    }
    while let Some(property) = map.next_key_seed(Name(schema))? {
        match property.filter(|property| property.number > 0) {
            Some(property) => {
                let (schema, number) = (&*property.schema, property.number);
                map.next_value_seed(Field { schema, number, out: &mut *out, depth, optional: true })?;
            }
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(())
}

fn packed(
    schema: &Schema,
    given: &Map<String, Value>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), serde_json::Error> {
    let mut fields: Vec<(u32, &Property, &Value)> = Vec::with_capacity(given.len());
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(property) = schema.property(name).filter(|property| property.number > 0) {
            fields.push((property.number, property, value));
        }
    }
    by_number(&mut fields, out, depth)
}

/// Fields by their packed numbers.
fn by_number(
    fields: &mut [(u32, &Property, &Value)],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), serde_json::Error> {
    fields.sort_by_key(|(number, ..)| (number & 0x3ff, *number));
    let mut rest = fields;
    while let Some(&mut (number, property, value)) = rest.first_mut() {
        let outer = number & 0x3ff;
        if number >> 10 == 0 {
            let schema = &*property.schema;
            Field { schema, number: outer, out: &mut *out, depth, optional: true }.deserialize(value)?;
            rest = rest.get_mut(1..).unwrap_or_default();
            continue;
        }
        let end = rest.iter().position(|(n, ..)| n & 0x3ff != outer).unwrap_or(rest.len());
        let (embedded, after) = rest.split_at_mut(end);
        embedded.iter_mut().for_each(|(number, ..)| *number >>= 10);
        nested(out, outer, |out| by_number(embedded, out, depth + 1))?;
        rest = after;
    }
    Ok(())
}

/// A field of a struct by its name, if it is one.
struct Name<'a>(&'a Schema);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a Property>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a Property>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.property(name))
    }
}

/// A field of a message, an item of a repeated one, or the value of a map's entry.
pub(super) struct Field<'a> {
    pub schema: &'a Schema,
    pub number: u32,
    pub out: &'a mut Vec<u8>,
    pub depth: usize,
    /// Whether `null` is as good as nothing.
    pub optional: bool,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl Field<'_> {
    /// JSON that is one in the message too: the bytes of its text.
    fn json<E>(self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        nested(self.out, self.number, |out| nested(out, 1, write))
    }

    fn number<E: Error>(self, text: impl fmt::Display, whole: Option<i64>, float: f64) -> Result<(), E> {
        match (shape(self.schema), whole) {
            (Shape::Int32 | Shape::Int64, Some(whole)) => put_integer(self.out, self.number, whole),
            (Shape::Float, _) => put_float(self.out, self.number, float),
            (Shape::Quantity, _) => {
                nested(self.out, self.number, |out| {
                    put_bytes(out, 1, text.to_string().as_bytes());
                    Ok(())
                })?;
            }
            (Shape::IntOrString, _) => {
                nested(self.out, self.number, |out| {
                    put_integer(out, 1, 0);
                    put_integer(out, 2, whole.unwrap_or(0));
                    put_bytes(out, 3, b"");
                    Ok(())
                })?;
            }
            _ => return Err(mismatch(self.schema, text)),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.schema))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match shape(self.schema) {
            _ if self.optional => Ok(()),
            Shape::List(_) => Ok(()),
            Shape::Any => self.json(|out| literal(out, &())),
            _ => Err(mismatch(self.schema, "null")),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match shape(self.schema) {
            Shape::Boolean => {
                put_integer(self.out, self.number, i64::from(value));
                Ok(())
            }
            Shape::SchemaOr(_) => nested(self.out, self.number, |out| {
                put_integer(out, 1, i64::from(value));
                Ok(())
            }),
            Shape::Any => self.json(|out| literal(out, &value)),
            _ => Err(mismatch(self.schema, value)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match shape(self.schema) {
            Shape::Any => self.json(|out| literal(out, &value)),
            #[expect(clippy::cast_precision_loss, reason = "what a float can hold of it")]
            _ => self.number(value, Some(value), value as f64),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match shape(self.schema) {
            Shape::Any => self.json(|out| literal(out, &value)),
            #[expect(clippy::cast_precision_loss, reason = "what a float can hold of it")]
            _ => self.number(value, i64::try_from(value).ok(), value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match shape(self.schema) {
            Shape::Any => self.json(|out| literal(out, &value)),
            _ => self.number(value, None, value),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let bytes = text.as_bytes();
        match shape(self.schema) {
            Shape::Text => put_bytes(self.out, self.number, bytes),
            Shape::Bytes => {
                put_bytes(self.out, self.number, &STANDARD.decode(text).map_err(E::custom)?);
            }
            Shape::Time | Shape::MicroTime => {
                let time = Time::parse(text).map_err(E::custom)?;
                nested(self.out, self.number, |out| {
                    put_integer(out, 1, time.unix());
                    put_integer(out, 2, i64::from(time.subsec_nanos()));
                    Ok(())
                })?;
            }
            Shape::Quantity => {
                nested(self.out, self.number, |out| {
                    put_bytes(out, 1, bytes);
                    Ok(())
                })?;
            }
            Shape::IntOrString => {
                nested(self.out, self.number, |out| {
                    put_integer(out, 1, 1);
                    put_integer(out, 2, 0);
                    put_bytes(out, 3, bytes);
                    Ok(())
                })?;
            }
            Shape::Any => self.json(|out| literal(out, text))?,
            _ => return Err(mismatch(self.schema, format_args!("{text:?}"))),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Field { schema, number, out, depth, .. } = self;
        match shape(schema) {
            Shape::List(schema) => {
                while items
                    .next_element_seed(Field { schema, number, out: &mut *out, depth, optional: false })?
                    .is_some()
                {}
                Ok(())
            }
            Shape::Any => nested(out, number, |out| nested(out, 1, |out| Json::new(out).visit_seq(items))),
            // `…OrArray` and `…OrStringArray`: schemas or texts.
            Shape::SchemaOr(of) => nested(out, number, |out| {
                while let Some(item) = items.next_element::<Value>()? {
                    match item {
                        Value::String(text) => put_bytes(out, 2, text.as_bytes()),
                        item => {
                            Field { schema: of, number: 2, out: &mut *out, depth: depth + 1, optional: false }
                                .deserialize(item)
                                .map_err(A::Error::custom)?
                        }
                    }
                }
                Ok(())
            }),
            _ => Err(mismatch(schema, "[…]")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Field { schema, number, out, depth, .. } = self;
        match shape(schema) {
            Shape::Struct => nested(out, number, |out| members(schema, map, out, depth + 1)),
            Shape::Any => nested(out, number, |out| nested(out, 1, |out| Json::new(out).visit_map(map))),
            Shape::Map(schema) => {
                let depth = depth + 1;
                while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                    nested(out, number, |out| {
                        put_bytes(out, 1, name.as_bytes());
                        match shape(schema) {
                            // A list as the value of a map is a message around it.
                            Shape::List(_) => nested(out, 2, |out| {
                                map.next_value_seed(Field { schema, number: 1, out, depth, optional: true })
                            }),
                            _ => map.next_value_seed(Field { schema, number: 2, out, depth, optional: true }),
                        }
                    })?;
                }
                Ok(())
            }
            Shape::SchemaOr(of) => nested(out, number, |out| {
                let or_bool = name_of(schema).ends_with("OrBool");
                if or_bool {
                    put_integer(out, 1, 1);
                }
                nested(out, if or_bool { 2 } else { 1 }, |out| members(of, map, out, depth + 2))
            }),
            _ => Err(mismatch(schema, "{…}")),
        }
    }
}
