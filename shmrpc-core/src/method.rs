//! What a service offers: its name, port and methods, as constants made by `#[service]`
//! ([`ServiceInfo`]) and as the owned description that travels in handshakes and `--describe`
//! ([`ServiceDescription`]). Client and server compare methods by [`MethodId`].

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::codec::Encoding;

/// A method's identity on the wire: FNV-1a (64 bit) over `name`, a NUL, the encoding's name, a NUL, the
/// shape's name, a NUL and the signature. Methods that differ in any of them have different ids, so
/// adding or removing a method never changes what another id means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MethodId(pub u64);

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One request, one reply.
    Unary,
    /// Items from server to client, then the reply.
    Download,
    /// Items from client to server, then the reply.
    Upload,
    /// Items in both directions, then the reply.
    Duplex,
}

impl Shape {
    /// `unary`, `download`, `upload` or `duplex`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Duplex => "duplex",
        }
    }

    /// Whether the caller streams items to the method.
    #[must_use]
    pub const fn takes_stream(self) -> bool {
        matches!(self, Self::Upload | Self::Duplex)
    }
}

/// One argument of a method.
#[derive(Clone, Copy, Debug)]
pub struct ParamInfo {
    /// Its name in the source.
    pub name: &'static str,
    /// Its type as it travels, paths shortened to their last segment.
    pub ty: &'static str,
}

/// One method of a service, as the macro describes it.
#[derive(Debug)]
pub struct MethodInfo {
    /// Its identity on the wire: [`method_id`] of the next four, which is computed when the program is compiled.
    pub id: MethodId,
    /// The method's name.
    pub name: &'static str,
    /// How its arguments and reply are written.
    pub encoding: Encoding,
    /// Which sides stream.
    pub shape: Shape,
    /// `(u32, String) -> Result<Row, DbError>`: the types as they travel, paths shortened to their last
    /// segment. How a handler takes them (`&str` or `String`, raw bytes in place or not) leaves no trace, so
    /// it may change under running clients.
    pub signature: &'static str,
    /// Its arguments, without streams.
    pub params: &'static [ParamInfo],
    /// The reply's type as it travels.
    pub returns: &'static str,
    /// The first paragraph of its documentation.
    pub doc: &'static str,
    /// May be run again by itself when its worker dies.
    pub idempotent: bool,
    /// Changes nothing: REST offers it by GET too.
    pub read_only: bool,
    /// Its own deadline; without one the client's applies (30 s by default).
    pub deadline: Option<Duration>,
}

impl MethodInfo {
    /// The method's identity on the wire.
    #[must_use]
    pub const fn id(&self) -> MethodId {
        self.id
    }
}

/// A service, as the macro describes it.
#[derive(Debug)]
pub struct ServiceInfo {
    /// The struct or trait that the attribute stands on; an ini section bears this name.
    pub struct_name: &'static str,
    /// The name that everything else uses: endpoints, logs, REST, the page.
    pub name: &'static str,
    /// Its TCP port, used where `tcp_bind` asks for TCP.
    pub port: u16,
    /// At most so many worker processes, for a service that cannot be copied.
    pub max_workers: Option<u32>,
    /// The first paragraph of its documentation.
    pub doc: &'static str,
    /// Its methods in source order.
    pub methods: &'static [MethodInfo],
}

/// An owned [`MethodInfo`], as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodDescription {
    /// See [`MethodInfo::id`]; 16 hexadecimal digits in JSON.
    #[serde(with = "hex_id")]
    pub id: MethodId,
    /// The method's name.
    pub name: String,
    /// How its arguments and reply are written.
    pub encoding: Encoding,
    /// Which sides stream.
    pub shape: Shape,
    /// See [`MethodInfo::signature`].
    pub signature: String,
    /// Names and types of the arguments.
    pub params: Vec<(String, String)>,
    /// The reply's type as written.
    pub returns: String,
    /// The first paragraph of its documentation.
    pub doc: String,
    /// May be run again by itself when its worker dies.
    pub idempotent: bool,
    /// Changes nothing.
    pub read_only: bool,
    /// Its own deadline in milliseconds.
    pub deadline_ms: Option<u64>,
}

/// An owned [`ServiceInfo`], as it travels and as `--describe` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    /// The struct or trait in the source.
    pub struct_name: String,
    /// The name that everything else uses.
    pub name: String,
    /// Its TCP port.
    pub port: u16,
    /// At most so many worker processes.
    pub max_workers: Option<u32>,
    /// The first paragraph of its documentation.
    pub doc: String,
    /// Its methods in source order.
    pub methods: Vec<MethodDescription>,
}

impl ServiceDescription {
    /// The method of that name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodDescription> {
        self.methods.iter().find(|m| m.name == name)
    }

    /// A fingerprint of the method table: workers that share it may share rings.
    #[must_use]
    pub fn table_hash(&self) -> u64 {
        let mut ids: Vec<u64> = self.methods.iter().map(|m| m.id.0).collect();
        ids.sort_unstable();
        ids.iter().fold(FNV_OFFSET, |hash, id| fnv1a(hash, &id.to_le_bytes()))
    }
}

impl From<&ServiceInfo> for ServiceDescription {
    fn from(info: &ServiceInfo) -> Self {
        Self {
            struct_name: info.struct_name.into(),
            name: info.name.into(),
            port: info.port,
            max_workers: info.max_workers,
            doc: info.doc.into(),
            methods: info.methods.iter().map(MethodDescription::from).collect(),
        }
    }
}

impl From<&MethodInfo> for MethodDescription {
    fn from(info: &MethodInfo) -> Self {
        Self {
            id: info.id(),
            name: info.name.into(),
            encoding: info.encoding,
            shape: info.shape,
            signature: info.signature.into(),
            params: info.params.iter().map(|p| (p.name.into(), p.ty.into())).collect(),
            returns: info.returns.into(),
            doc: info.doc.into(),
            idempotent: info.idempotent,
            read_only: info.read_only,
            deadline_ms: info.deadline.map(|d| d.as_millis().try_into().unwrap_or(u64::MAX)),
        }
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// FNV-1a (64 bit) of some bytes.
pub(crate) const fn fnv1a_64(bytes: &[u8]) -> u64 {
    fnv1a(FNV_OFFSET, bytes)
}

/// The identity of a method on the wire: a hash of what client and server have to agree upon. FNV-1a, 64 bit; the
/// vectors are in the tests.
#[must_use]
pub const fn method_id(name: &str, encoding: Encoding, shape: Shape, signature: &str) -> MethodId {
    let mut hash = fnv1a(FNV_OFFSET, name.as_bytes());
    hash = fnv1a(fnv1a(hash, &[0]), encoding.name().as_bytes());
    hash = fnv1a(fnv1a(hash, &[0]), shape.name().as_bytes());
    hash = fnv1a(fnv1a(hash, &[0]), signature.as_bytes());
    MethodId(hash)
}

mod hex_id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::MethodId;

    pub(super) fn serialize<S: Serializer>(id: &MethodId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<MethodId, D::Error> {
        let text = String::deserialize(d)?;
        u64::from_str_radix(&text, 16).map(MethodId).map_err(|_| {
            D::Error::custom(format_args!("{text:?} is not a method id of 16 hexadecimal digits"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_method_changes_its_id() {
        let id = method_id("echo", Encoding::Json, Shape::Unary, "(Value) -> Value");
        assert_ne!(id, method_id("echo2", Encoding::Json, Shape::Unary, "(Value) -> Value"));
        assert_ne!(id, method_id("echo", Encoding::Msgpack, Shape::Unary, "(Value) -> Value"));
        assert_ne!(id, method_id("echo", Encoding::Json, Shape::Upload, "(Value) -> Value"));
        assert_ne!(id, method_id("echo", Encoding::Json, Shape::Unary, "(Value) -> u8"));
    }
}
