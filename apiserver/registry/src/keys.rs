//! Keys: where an object is in the store, so that no name, however chosen, reaches another's keys.
//!
//! ```text
//! <prefix>/<vcp id>/<group>/<resource>/[<namespace>/]<name>     objects
//! <prefix>/.meta/…                                              pins, layers, the format marker
//! ```
//!
//! A `/` in a segment is written `%2F` and a `%` is written `%25`, so a raw slash always separates. Names that
//! Kubernetes allows hold neither, so that the order of keys is upstream's order of lists. A VCP's segment is `root` or 32
//! hexadecimal digits, never `.meta`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

const ROOT: &str = "root";
const META: &str = ".meta";

/// The immutable identity of a VCP: the uid of its record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VcpId([u8; 16]);

impl VcpId {
    /// The control plane that administers the others.
    pub const ROOT: Self = Self([0; 16]);

    /// Reads a uid: 32 hexadecimal digits, with or without hyphens.
    pub fn parse(uid: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut digits = 0;
        for c in uid.bytes().filter(|c| *c != b'-') {
            let digit = char::from(c).to_digit(16)?;
            let byte = bytes.get_mut(digits / 2)?;
            *byte = (*byte << 4) | u8::try_from(digit).ok()?;
            digits += 1;
        }
        // The identity of root belongs to no record.
        (digits == 32 && bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        *self == Self::ROOT
    }

    pub(crate) fn bytes(&self) -> [u8; 16] {
        self.0
    }

    fn from_segment(segment: &str) -> Option<Self> {
        if segment == ROOT {
            return Some(Self::ROOT);
        }
        let canonical =
            segment.len() == 32 && segment.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| Self::parse(segment)).flatten()
    }
}

/// As in keys.
impl fmt::Display for VcpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(ROOT);
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VcpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 16 bytes as a uid is written.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    out
}

/// Where the objects of a kind are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// The group, empty for core.
    pub group: Arc<str>,
    /// The plural resource name.
    pub resource: Arc<str>,
}

impl ResourceKey {
    /// Builds one from its parts.
    pub fn new(group: impl Into<Arc<str>>, resource: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }

    /// `<group>/<resource>/`
    pub(crate) fn tail(&self) -> String {
        let mut out = String::with_capacity(self.group.len() + self.resource.len() + 2);
        push_segment(&mut out, &self.group);
        out.push('/');
        push_segment(&mut out, &self.resource);
        out.push('/');
        out
    }

    /// Reads [`ResourceKey::tail`] back.
    pub(crate) fn from_tail(tail: &str) -> Result<Self, Error> {
        let (group, resource) = tail
            .strip_suffix('/')
            .and_then(|tail| tail.split_once('/'))
            .ok_or_else(|| Error::Corrupt(format!("{tail:?} names no resource")))?;
        Ok(Self::new(decode(group)?, decode(resource)?))
    }

    /// `<vcp id>/<group>/<resource>/`
    pub(crate) fn scope(&self, id: VcpId) -> String {
        format!("{id}/{}", self.tail())
    }
}

/// Where an object is stored within a VCP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub resource: ResourceKey,
    /// Its namespace, if its kind has one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Builds one from its parts.
    pub fn new(resource: ResourceKey, namespace: Option<&str>, name: &str) -> Self {
        Self { resource, namespace: namespace.map(Arc::from), name: Arc::from(name) }
    }

    /// The key below its resource: `[<namespace>/]<name>`.
    pub(crate) fn rel(&self) -> Arc<str> {
        rel(self.namespace.as_deref(), &self.name)
    }
}

/// `[<namespace>/]<name>`
pub(crate) fn rel(namespace: Option<&str>, name: &str) -> Arc<str> {
    let mut out = String::with_capacity(namespace.map_or(0, |n| n.len() + 1) + name.len());
    if let Some(namespace) = namespace {
        push_segment(&mut out, namespace);
        out.push('/');
    }
    push_segment(&mut out, name);
    out.into()
}

/// The beginning of the keys of a namespace below their resource.
pub(crate) fn namespace_prefix(namespace: &str) -> String {
    let mut out = String::with_capacity(namespace.len() + 1);
    push_segment(&mut out, namespace);
    out.push('/');
    out
}

/// The namespace and name of a key below its resource, as they were before encoding. `None` when nothing was
/// encoded, which is nearly always: the key then holds them as they are.
pub(crate) fn decode_rel(rel: &str) -> Result<Option<(Option<String>, String)>, Error> {
    if !rel.contains('%') {
        return Ok(None);
    }
    match rel.split_once('/') {
        Some((namespace, name)) => Ok(Some((Some(decode(namespace)?), decode(name)?))),
        None => Ok(Some((None, decode(rel)?))),
    }
}

pub(crate) fn push_segment(out: &mut String, segment: &str) {
    if !segment.contains(['/', '%']) {
        out.push_str(segment);
        return;
    }
    for c in segment.chars() {
        match c {
            '/' => out.push_str("%2F"),
            '%' => out.push_str("%25"),
            c => out.push(c),
        }
    }
}

fn decode(segment: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = if let Some(rest) = after.strip_prefix("2F") {
            out.push('/');
            rest
        } else if let Some(rest) = after.strip_prefix("25") {
            out.push('%');
            rest
        } else {
            return Err(Error::Corrupt(format!("the segment {segment:?} of a key is not ours")));
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// What a key is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// An object.
    Object {
        /// Its VCP.
        id: VcpId,
        /// `<vcp id>/<group>/<resource>/`
        scope: &'a str,
        /// `<group>/<resource>/`
        tail: &'a str,
        /// `[<namespace>/]<name>`
        rel: &'a str,
    },
    /// A VCP's pin.
    Pin(VcpId),
    /// Another key of ours.
    Meta,
}

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    /// The prefix with a slash at its end.
    base: Arc<str>,
}

impl Keyspace {
    pub fn new(prefix: &str) -> Self {
        Self { base: format!("{}/", prefix.trim_end_matches('/')).into() }
    }

    /// The beginning of every key.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn object(&self, id: VcpId, resource: &ResourceKey, rel: &str) -> Bytes {
        format!("{}{}{rel}", self.base, resource.scope(id)).into()
    }

    /// The beginning of the keys of a scope.
    pub fn scope(&self, scope: &str) -> String {
        format!("{}{scope}", self.base)
    }

    /// The beginning of the keys of a VCP.
    pub fn vcp(&self, id: VcpId) -> String {
        format!("{}{id}/", self.base)
    }

    pub fn pins(&self) -> String {
        format!("{}{META}/pins/", self.base)
    }

    pub fn pin(&self, id: VcpId) -> Bytes {
        format!("{}{META}/pins/{id}", self.base).into()
    }

    /// A key of the layers and parameters, by content.
    pub fn content(&self, kind: &str, hash: &str) -> String {
        format!("{}{META}/{kind}/{hash}", self.base)
    }

    pub fn format(&self) -> Bytes {
        format!("{}{META}/format", self.base).into()
    }

    pub fn ticket(&self, number: u128) -> Bytes {
        format!("{}{META}/tickets/{number}", self.base).into()
    }

    pub fn compaction(&self) -> Bytes {
        format!("{}{META}/compaction", self.base).into()
    }

    /// Reads a key. `None` for one that is not ours.
    pub fn parse<'a>(&self, key: &'a [u8]) -> Option<Parsed<'a>> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&*self.base)?;
        let (first, rest) = key.split_once('/')?;
        if first == META {
            return match rest.strip_prefix("pins/") {
                Some(id) => VcpId::from_segment(id).map(Parsed::Pin),
                None => Some(Parsed::Meta),
            };
        }
        let id = VcpId::from_segment(first)?;
        let group = rest.find('/')?;
        let resource = rest[group + 1..].find('/')?;
        let scope = first.len() + 1 + group + 1 + resource + 1;
        let rel = &key[scope..];
        (rel.matches('/').count() <= 1).then(|| Parsed::Object {
            id,
            scope: &key[..scope],
            tail: &key[first.len() + 1..scope],
            rel,
        })
    }
}

#[cfg(test)]
mod tests {
    use kplane_storage::prefix_end;
    use proptest::prelude::*;

    use super::*;

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-z0-9./%:-]{0,6}",
            1 => Just(String::new()),
            1 => Just("..".to_owned()),
            1 => Just("clusters".to_owned()),
            1 => Just("%2F".to_owned()),
            1 => Just(".meta".to_owned()),
            1 => Just("root".to_owned()),
            1 => any::<String>(),
        ]
    }

    fn id() -> impl Strategy<Value = VcpId> {
        prop_oneof![
            Just(VcpId::ROOT),
            Just(VcpId([0x0f; 16])),
            Just(VcpId([0xff; 16])),
            any::<[u8; 16]>().prop_map(VcpId)
        ]
    }

    fn key() -> impl Strategy<Value = (VcpId, ObjectKey)> {
        (id(), segment(), segment(), proptest::option::of(segment()), segment()).prop_map(
            |(id, group, resource, namespace, name)| {
                (id, ObjectKey::new(ResourceKey::new(group, resource), namespace.as_deref(), &name))
            },
        )
    }

    fn within(key: &[u8], prefix: &str) -> bool {
        let end = prefix_end(prefix.as_bytes());
        key >= prefix.as_bytes() && key < &end[..]
    }

    proptest! {
        #[test]
        fn a_key_reads_back_as_what_it_was_made_of((id, key) in key()) {
            let keys = Keyspace::new("/kplane");
            let bytes = keys.object(id, &key.resource, &key.rel());
            let Some(Parsed::Object { id: read, scope, tail, rel }) = keys.parse(&bytes) else {
                return Err(TestCaseError::fail(format!("{bytes:?} is no object")));
            };
            prop_assert_eq!(read, id);
            prop_assert_eq!(scope, key.resource.scope(id));
            prop_assert_eq!(ResourceKey::from_tail(tail).unwrap(), key.resource.clone());
            prop_assert_eq!(rel, &*key.rel());
            let decoded = decode_rel(rel).unwrap().unwrap_or_else(|| match rel.split_once('/') {
                Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
                None => (None, rel.to_owned()),
            });
            prop_assert_eq!(decoded, (key.namespace.as_deref().map(str::to_owned), key.name.to_string()));
        }

        #[test]
        fn ranges_hold_their_own_keys_and_no_others((id, key) in key(), (other_id, other) in key()) {
            let keys = Keyspace::new("/kplane/");
            let bytes = keys.object(id, &key.resource, &key.rel());
            prop_assert_eq!(within(&bytes, &keys.vcp(other_id)), id == other_id);
            let scope = keys.scope(&other.resource.scope(other_id));
            prop_assert_eq!(within(&bytes, &scope), id == other_id && key.resource == other.resource);
            if let (Some(a), Some(b)) = (&key.namespace, &other.namespace) {
                let range = format!("{scope}{}", namespace_prefix(b));
                prop_assert_eq!(within(&bytes, &range), id == other_id && key.resource == other.resource && a == b);
            }
            let meta = format!("{}.meta/", keys.base());
            prop_assert!(!within(&bytes, &meta));
            if id != other_id || key != other {
                prop_assert_ne!(bytes, keys.object(other_id, &other.resource, &other.rel()));
            }
        }
    }

    #[test]
    fn foreign_keys_are_told_from_ours() {
        let keys = Keyspace::new("/kplane");
        assert_eq!(keys.parse(b"/kplane/.meta/pins/root"), Some(Parsed::Pin(VcpId::ROOT)));
        assert_eq!(keys.parse(b"/kplane/.meta/format"), Some(Parsed::Meta));
        for foreign in
            ["/kplanes/root//pods/a", "/kplane/pods/a", "/kplane/.meta/pins/x", "/kplane/root//pods/a/b/c"]
        {
            assert_eq!(keys.parse(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(VcpId::parse("00000000-0000-0000-0000-000000000000"), None);
        let id = VcpId::parse("0A0b0c0d-0000-4000-8000-000000000001").unwrap();
        assert_eq!(id.to_string(), "0a0b0c0d000040008000000000000001");
        assert_eq!(uuid(id.bytes()), "0a0b0c0d-0000-4000-8000-000000000001");
    }
}
