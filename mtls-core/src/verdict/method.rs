//! The method by which a client verifies a connection (`docs/protocol.md`, section 11).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The method by which a client verifies a connection over a side path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// By the side protocol, which the server has to speak. It proves that the server of the side
    /// path took part in this very handshake.
    #[default]
    Side,
    /// By resuming the session of the primary path over the side path, which needs no change at a
    /// TLS 1.3 server. **Weaker**: it proves that both paths lead to the same *ticket domain*, the
    /// machines that open each other's session tickets. Two attackers that agreed on a ticket key
    /// in advance pass, and so does one attacker who holds the server's ticket key
    /// (`docs/threat-model.md`).
    Resumption,
    /// By the side protocol, and by resumption where the server sends no greeting. An attacker on
    /// the side path can suppress the greeting, and so choose the weaker method: the verdict names
    /// the method that was used.
    Auto,
}

impl Method {
    /// The word used on command lines: `side`, `resumption` or `auto`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Side => "side",
            Self::Resumption => "resumption",
            Self::Auto => "auto",
        }
    }

    /// The statement that a verification by this method proves, as a token for programs: `same-handshake` or
    /// `same-ticket-domain`.
    pub fn proves(self) -> &'static str {
        match self {
            Self::Side => "same-handshake",
            // The weaker of the two.
            Self::Resumption | Self::Auto => "same-ticket-domain",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        [Self::Side, Self::Resumption, Self::Auto]
            .into_iter()
            .find(|method| method.as_str() == word)
            .ok_or_else(|| UnknownMethod(word.to_owned()))
    }
}

/// A word that names no [`Method`].
///
/// ```
/// use mtls_core::Method;
///
/// assert!("notary".parse::<Method>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMethod(String);

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected a method of `side`, `resumption` or `auto`, got `{}`",
            self.0
        )
    }
}

impl std::error::Error for UnknownMethod {}
