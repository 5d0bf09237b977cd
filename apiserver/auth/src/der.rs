//! The few DER forms that client certificates need. `rcgen` makes the other certificates; it holds one value of each
//! attribute of a name, and a client certificate has one organisation a group.

/// UTF8String.
const UTF8: u8 = 0x0c;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
const BITS: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTETS: u8 = 0x04;
/// OBJECT IDENTIFIER.
const OID: u8 = 0x06;
/// SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// SET.
const SET: u8 = 0x31;

/// id-at-commonName.
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// id-at-organizationName.
pub(crate) const ORGANIZATION: &[u8] = &[0x55, 4, 10];
/// 1.3.6.1.4.1.57683.2: the uid of a user, as kube-apiserver reads it.
pub(crate) const USER_UID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xc2, 0x53, 2];
/// ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// One element: tag, length, content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
        out.push(0x80 | (bytes.len() - start) as u8);
        out.extend_from_slice(&bytes[start..]);
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BITS, &[&[0], bytes].concat())
}

/// The signature algorithm of the plane's CA.
pub(crate) fn signature_algorithm() -> Vec<u8> {
    sequence(&[&element(OID, ECDSA_SHA256)])
}

/// One part of a name.
pub(crate) fn attribute(oid: &[u8], value: &str) -> Vec<u8> {
    element(SET, &sequence(&[&element(OID, oid), &element(UTF8, value.as_bytes())]))
}

/// An extension.
pub(crate) fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&element(OID, oid), critical, &element(OCTETS, content)])
}

/// An OBJECT IDENTIFIER.
pub(crate) fn oid(content: &[u8]) -> Vec<u8> {
    element(OID, content)
}

/// A time of a certificate's validity: UTCTime until 2049, GeneralizedTime after.
pub(crate) fn time(unix: i64) -> Option<Vec<u8>> {
    let text = jiff::Timestamp::from_second(unix).ok()?.strftime("%Y%m%d%H%M%SZ").to_string();
    let year: i32 = text.get(..4)?.parse().ok()?;
    Some(if (1950..2050).contains(&year) {
        element(0x17, text.get(2..)?.as_bytes())
    } else {
        element(0x18, text.as_bytes())
    })
}
