//! The two hellos, as far as the tap reads them (RFC 8446, sections 4.1.2 and 4.1.3).

use super::{HelloError, Negotiated};

/// The `random` of a ServerHello that is a HelloRetryRequest: SHA-256 of that word (RFC 8446,
/// section 4.1.3).
const RETRY_REQUEST_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const TLS_1_3: u16 = 0x0304;

const SERVER_NAME: u16 = 0;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// `NameType.host_name` (RFC 6066, section 3).
const HOST_NAME: u8 = 0;

/// The fields of a ClientHello that the tap needs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientHello {
    pub(super) random: [u8; 32],
    pub(super) server_name: Option<String>,
    pub(super) early_data: bool,
}

impl ClientHello {
    /// Reads the message without its handshake header.
    pub(super) fn parse(body: &[u8]) -> Result<Self, HelloError> {
        let mut reader = Reader::new("ClientHello", body);
        reader.u16("legacy_version")?;
        let random = reader.array("random")?;
        reader.session_id("legacy_session_id")?;
        let suites = reader.vector16("cipher_suites")?;
        suites.check_length("cipher_suites", |len| len >= 2 && len.is_multiple_of(2))?;
        let compression = reader.vector8("legacy_compression_methods")?;
        compression.check_length("legacy_compression_methods", |len| len >= 1)?;

        let [server_name, early_data] = reader.extensions([SERVER_NAME, EARLY_DATA])?;
        if let Some(early_data) = &early_data {
            early_data.check_length("early_data", |len| len == 0)?;
        }
        Ok(Self {
            random,
            server_name: server_name.map(host_name).transpose()?.flatten(),
            early_data: early_data.is_some(),
        })
    }
}

/// The fields of a ServerHello that the tap needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerHello {
    /// A HelloRetryRequest.
    RetryRequest,
    /// A ServerHello that selects TLS 1.3 and carries a key share.
    Final(Negotiated),
}

impl ServerHello {
    /// Reads the message without its handshake header.
    pub(super) fn parse(body: &[u8]) -> Result<Self, HelloError> {
        let mut reader = Reader::new("ServerHello", body);
        let legacy_version = reader.u16("legacy_version")?;
        let random: [u8; 32] = reader.array("random")?;
        reader.session_id("legacy_session_id_echo")?;
        let cipher_suite = reader.u16("cipher_suite")?;
        reader.u8("legacy_compression_method")?;

        let [version, key_share, psk] =
            reader.extensions([SUPPORTED_VERSIONS, KEY_SHARE, PRE_SHARED_KEY])?;
        // Without the extension the server selects by `legacy_version`, which cannot say TLS 1.3.
        let mut version = version.ok_or(HelloError::NotTls13 {
            selected: legacy_version,
        })?;
        let selected = version.u16("selected_version")?;
        version.finish("selected_version")?;
        if selected != TLS_1_3 {
            return Err(HelloError::NotTls13 { selected });
        }
        if random == RETRY_REQUEST_RANDOM {
            return Ok(Self::RetryRequest);
        }
        let mut key_share = key_share.ok_or(HelloError::NoKeyShare)?;
        let group = key_share.u16("group")?;
        let key_exchange = key_share.vector16("key_exchange")?;
        key_exchange.check_length("key_exchange", |len| len >= 1)?;
        key_share.finish("key_exchange")?;
        Ok(Self::Final(Negotiated {
            cipher_suite,
            group,
            resumed: psk.is_some(),
            retried: false,
        }))
    }
}

/// The first host name of a `ServerNameList`, if it is fit for a log.
fn host_name(mut extension: Reader<'_>) -> Result<Option<String>, HelloError> {
    let mut list = extension.vector16("server_name_list")?;
    extension.finish("server_name_list")?;
    let mut host_name = None;
    while !list.is_empty() {
        let kind = list.u8("name_type")?;
        let name = list.vector16("host_name")?;
        if kind == HOST_NAME && host_name.is_none() {
            host_name = Some(name.rest);
        }
    }
    let visible = host_name.filter(|name| name.iter().all(u8::is_ascii_graphic));
    Ok(visible.and_then(|name| String::from_utf8(name.to_vec()).ok()))
}

/// Reads a message, or a vector in it, from its front, and says what is missing.
struct Reader<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(message: &'static str, rest: &'a [u8]) -> Self {
        Self { message, rest }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(HelloError::MissingField {
                message: self.message,
                field,
            })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], HelloError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, HelloError> {
        self.array(field).map(u8::from_be_bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, HelloError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// A vector with a length of one byte.
    fn vector8(&mut self, field: &'static str) -> Result<Self, HelloError> {
        let len = self.u8(field)?;
        Ok(Self::new(self.message, self.take(len.into(), field)?))
    }

    /// A vector with a length of two bytes.
    fn vector16(&mut self, field: &'static str) -> Result<Self, HelloError> {
        let len = self.u16(field)?;
        Ok(Self::new(self.message, self.take(len.into(), field)?))
    }

    fn session_id(&mut self, field: &'static str) -> Result<(), HelloError> {
        self.vector8(field)?.check_length(field, |len| len <= 32)
    }

    /// The extensions of these types, from the vector that ends both hellos. TLS 1.2 may leave
    /// the vector out.
    fn extensions<const N: usize>(
        mut self,
        wanted: [u16; N],
    ) -> Result<[Option<Self>; N], HelloError> {
        let mut found = [const { None }; N];
        if self.is_empty() {
            return Ok(found);
        }
        let mut extensions = self.vector16("extensions")?;
        self.finish("extensions")?;
        while !extensions.is_empty() {
            let kind = extensions.u16("extension_type")?;
            let data = extensions.vector16("extension_data")?;
            let Some(slot) = wanted.iter().position(|&wanted| wanted == kind) else {
                continue;
            };
            if found[slot].replace(data).is_some() {
                return Err(HelloError::DuplicateExtension {
                    message: extensions.message,
                    extension: kind,
                });
            }
        }
        Ok(found)
    }

    fn check_length(
        &self,
        field: &'static str,
        allowed: impl Fn(usize) -> bool,
    ) -> Result<(), HelloError> {
        match self.rest.len() {
            len if allowed(len) => Ok(()),
            len => Err(HelloError::FieldLength {
                message: self.message,
                field,
                len,
            }),
        }
    }

    /// Refuses what is left after the last field.
    fn finish(self, field: &'static str) -> Result<(), HelloError> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(HelloError::TrailingBytes {
                message: self.message,
                field,
                trailing,
            }),
        }
    }
}
