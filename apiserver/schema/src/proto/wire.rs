//! The protobuf wire format.

use super::{ProtoError, fail};

/// A field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], ProtoError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => fail(format!("proto: wrong wireType for a message or text: {other:?}")),
        }
    }

    pub(crate) fn text(self) -> Result<String, ProtoError> {
        // Go keeps what is not UTF-8 until it writes JSON, and replaces it then.
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    #[expect(clippy::cast_possible_wrap, reason = "the wire holds two's complement")]
    pub(crate) fn integer(self) -> Result<i64, ProtoError> {
        match self {
            Self::Varint(n) => Ok(n as i64),
            other => fail(format!("proto: wrong wireType for a number: {other:?}")),
        }
    }

    pub(crate) fn float(self) -> Result<f64, ProtoError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Self::Fixed32(bits) => Ok(f64::from(f32::from_bits(bits))),
            other => fail(format!("proto: wrong wireType for a number: {other:?}")),
        }
    }
}

/// Takes the next field off a message; `None` at its end.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Field<'a>)>, ProtoError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let Some(number) = u32::try_from(tag >> 3).ok().filter(|n| *n > 0) else {
        return fail("proto: illegal tag");
    };
    let field = match tag & 7 {
        0 => Field::Varint(varint(rest)?),
        1 => Field::Fixed64(u64::from_le_bytes(fixed(rest)?)),
        2 => {
            let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
            let Some((bytes, after)) = rest.split_at_checked(length) else { return fail("unexpected EOF") };
            *rest = after;
            Field::Bytes(bytes)
        }
        5 => Field::Fixed32(u32::from_le_bytes(fixed(rest)?)),
        other => return fail(format!("proto: illegal wireType {other}")),
    };
    Ok(Some((number, field)))
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ProtoError> {
    let Some((bytes, after)) = rest.split_first_chunk::<N>() else { return fail("unexpected EOF") };
    *rest = after;
    Ok(*bytes)
}

pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, ProtoError> {
    let mut out = 0_u64;
    for shift in (0..70).step_by(7) {
        let Some((byte, after)) = rest.split_first() else { return fail("unexpected EOF") };
        *rest = after;
        if shift == 63 && *byte > 1 {
            break;
        }
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(out);
        }
    }
    fail("proto: integer overflow")
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are meant")]
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 128")]
    out.push(value as u8);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    put_varint(out, u64::from(number) << 3 | wire_type);
}

#[expect(clippy::cast_sign_loss, reason = "the wire holds two's complement")]
pub(crate) fn put_integer(out: &mut Vec<u8>, number: u32, value: i64) {
    put_tag(out, number, 0);
    put_varint(out, value as u64);
}

pub(crate) fn put_float(out: &mut Vec<u8>, number: u32, value: f64) {
    put_tag(out, number, 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a message as a field, its length before it, which is known only once it is written.
pub(crate) fn nested<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(out, number, 2);
    let at = out.len();
    // Room for the length of a short one, which most are.
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    match (u8::try_from(length), out.get_mut(at)) {
        (Ok(short @ ..0x80), Some(place)) => *place = short,
        _ => {
            let mut long = Vec::with_capacity(5);
            put_varint(&mut long, length as u64);
            out.splice(at..=at, long);
        }
    }
    Ok(())
}
