use std::path::{Path, PathBuf};

use crate::write::{Access, NewFile, write_all};
use crate::{Authority, Error, KeyAlgorithm, Leaf};

/// The subject of both authorities.
const CA_COMMON_NAME: &str = "Multipath TLS test CA";

/// A real and a rogue authority of the same subject, and a server certificate from each.
#[derive(Debug)]
pub struct Pki {
    /// The real authority.
    pub ca: Authority,
    /// The attacker's authority: the same subject as `ca`, another key.
    pub rogue_ca: Authority,
    /// The real server, certified by `ca`.
    pub server: Leaf,
    /// The man in the middle, certified by `rogue_ca` for the same names as `server`.
    pub rogue: Leaf,
}

impl Pki {
    /// Makes both authorities and a server certificate for `hosts` from each, all with ECDSA
    /// P-256 keys.
    ///
    /// # Errors
    ///
    /// [`Error::NoHostNames`] or [`Error::InvalidHostName`] for bad names; [`Error::Generate`] or
    /// [`Error::ClockBeforeEpoch`] if the system is at fault.
    pub fn new(hosts: &[impl AsRef<str>]) -> Result<Self, Error> {
        Self::with_algorithm(hosts, KeyAlgorithm::default())
    }

    /// Like [`Pki::new`], with keys of `algorithm`.
    ///
    /// # Errors
    ///
    /// As [`Pki::new`].
    pub fn with_algorithm(
        hosts: &[impl AsRef<str>],
        algorithm: KeyAlgorithm,
    ) -> Result<Self, Error> {
        let ca = Authority::with_algorithm(CA_COMMON_NAME, algorithm)?;
        let rogue_ca = ca.rogue_twin()?;
        Ok(Self {
            server: ca.issue(hosts)?,
            rogue: rogue_ca.issue(hosts)?,
            ca,
            rogue_ca,
        })
    }

    /// Writes the PEM files `ca.pem`, `server.pem`, `server.key`, `ca.key`, `rogue-ca.pem`,
    /// `rogue-ca.key`, `rogue.pem` and `rogue.key` into `dir`, which is created if need be, and
    /// returns their paths in this order.
    ///
    /// A private key is in a file of mode 0600 from its first byte on, even where it replaces a
    /// file of a wider mode.
    ///
    /// # Errors
    ///
    /// [`Error::WouldOverwrite`] if any of the files exists, unless `force` is set;
    /// [`Error::NotAFile`] if something else is in their way; [`Error::Io`] if the system refuses.
    /// A failed call leaves no file of its own behind. It changes no file that was there, unless
    /// the system refuses to rename a finished file over an old one.
    pub fn write(&self, dir: &Path, force: bool) -> Result<Vec<PathBuf>, Error> {
        write_all(dir, &self.files(), force)
    }

    fn files(&self) -> [NewFile; 8] {
        let public = |name, text: &str| NewFile::new(name, Access::Everyone, text);
        let private = |name, text: &str| NewFile::new(name, Access::Owner, text);
        [
            public("ca.pem", &self.ca.cert_pem()),
            public("server.pem", self.server.chain_pem()),
            private("server.key", self.server.key_pem()),
            private("ca.key", &self.ca.key_pem()),
            public("rogue-ca.pem", &self.rogue_ca.cert_pem()),
            private("rogue-ca.key", &self.rogue_ca.key_pem()),
            public("rogue.pem", self.rogue.chain_pem()),
            private("rogue.key", self.rogue.key_pem()),
        ]
    }
}
