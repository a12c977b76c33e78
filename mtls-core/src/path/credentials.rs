//! A user name and a password for a proxy. Neither is ever shown.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::spec_error::PathSpecError;

/// The longest user name or password, in bytes: RFC 1929 counts them in one.
const MAX_LEN: usize = 255;

/// A user name and a password for a proxy.
pub(super) struct Credentials {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// Returns whether the user name has a colon, which ends it in HTTP (RFC 7617, section 2).
    pub(super) fn user_has_colon(&self) -> bool {
        self.user.contains(&b':')
    }

    /// Takes a user name and a password as they are.
    pub(super) fn new(user: &str, password: &str) -> Result<Self, PathSpecError> {
        Self::checked(user.as_bytes().to_vec(), password.as_bytes().to_vec())
    }

    /// Parses `USER:PASSWORD` of a URL (RFC 3986, section 3.2.1), percent-encoding included.
    pub(super) fn parse(userinfo: &str) -> Result<Self, PathSpecError> {
        let (user, password) = userinfo.split_once(':').ok_or(PathSpecError::Credentials(
            "write USER:PASSWORD@ before the host",
        ))?;
        Self::checked(percent_decode(user)?, percent_decode(password)?)
    }

    fn checked(user: Vec<u8>, password: Vec<u8>) -> Result<Self, PathSpecError> {
        let this = Self {
            user: Zeroizing::new(user),
            password: Zeroizing::new(password),
        };
        if this.user.is_empty() {
            return Err(PathSpecError::Credentials("the user name is empty"));
        }
        if this.user.len() > MAX_LEN || this.password.len() > MAX_LEN {
            return Err(PathSpecError::Credentials("more than 255 bytes"));
        }
        Ok(this)
    }

    /// The request of RFC 1929, section 2.
    pub(super) fn socks5_request(&self) -> Zeroizing<Vec<u8>> {
        // Exact, so that no copy is left behind by a growing buffer.
        let mut out = Zeroizing::new(Vec::with_capacity(
            3 + self.user.len() + self.password.len(),
        ));
        out.push(0x01);
        for field in [&self.user, &self.password] {
            // `checked` bounds both.
            out.push(u8::try_from(field.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(field);
        }
        out
    }

    /// The value of `Proxy-Authorization` (RFC 7617, section 2).
    pub(super) fn basic(&self) -> Zeroizing<String> {
        let mut pair = Zeroizing::new(Vec::with_capacity(
            1 + self.user.len() + self.password.len(),
        ));
        pair.extend_from_slice(&self.user);
        pair.push(b':');
        pair.extend_from_slice(&self.password);
        Zeroizing::new(format!(
            "Basic {}",
            Zeroizing::new(STANDARD.encode(&*pair)).as_str()
        ))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

fn percent_decode(text: &str) -> Result<Vec<u8>, PathSpecError> {
    let bad = PathSpecError::Credentials("`%` must be followed by two hexadecimal digits");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad);
        };
        out.push(u8::try_from(high * 16 + low).map_err(|_| bad.clone())?);
    }
    Ok(out)
}
