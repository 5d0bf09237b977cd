//! JSON that stays JSON in a message: copied as it comes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Writes one piece of JSON text, behind a comma if something is before it.
pub(super) struct Json<'a> {
    out: &'a mut Vec<u8>,
    comma: bool,
}

impl<'a> Json<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, comma: false }
    }
}

/// Writes a scalar.
pub(super) fn literal<E: Error>(
    out: &mut Vec<u8>,
    value: &(impl serde::Serialize + ?Sized),
) -> Result<(), E> {
    serde_json::to_writer(out, value).map_err(E::custom)
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.comma {
            self.out.push(b',');
        }
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        literal(self.out, &())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        literal(self.out, &value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        literal(self.out, &value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        literal(self.out, &value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        literal(self.out, &value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        literal(self.out, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.out.push(b'[');
        let mut comma = false;
        while items.next_element_seed(Json { out: &mut *self.out, comma })?.is_some() {
            comma = true;
        }
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.out.push(b'{');
        let mut comma = false;
        while map.next_key_seed(Json { out: &mut *self.out, comma })?.is_some() {
            self.out.push(b':');
            map.next_value_seed(Json::new(&mut *self.out))?;
            comma = true;
        }
        self.out.push(b'}');
        Ok(())
    }
}
