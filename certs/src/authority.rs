use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::host::HostKind;
use crate::{Error, HostName};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFETIME: Duration = DAY.saturating_mul(3_652);
const LEAF_LIFETIME: Duration = DAY.saturating_mul(90);

/// The upper bound `ub-common-name` (RFC 5280, appendix A.1), in characters.
const MAX_COMMON_NAME: usize = 64;

/// A certificate authority: a self-signed certificate and its key.
///
/// Certificates are valid from an hour before they are made, so that a peer whose clock is
/// somewhat slow accepts them: an authority for ten years, a leaf for 90 days. Each has a new
/// key, and a serial number that is a hash of this key and so cannot be foretold.
pub struct Authority {
    common_name: String,
    algorithm: KeyAlgorithm,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with an ECDSA P-256 key; `subject_cn` is the common name in its subject.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidCommonName`] if `subject_cn` does not have 1 to 64 characters;
    /// [`Error::Generate`] or [`Error::ClockBeforeEpoch`] if the system is at fault.
    pub fn new(subject_cn: &str) -> Result<Self, Error> {
        Self::with_algorithm(subject_cn, KeyAlgorithm::default())
    }

    /// Like [`Authority::new`], with keys of `algorithm`, its own and those of all leaves.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn with_algorithm(subject_cn: &str, algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let mut params = params(CA_LIFETIME)?;
        params.distinguished_name = common_name(subject_cn)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = algorithm.generate()?;
        Ok(Self {
            common_name: subject_cn.to_owned(),
            algorithm,
            certificate: params.self_signed(&key)?,
            issuer: Issuer::new(params, key),
        })
    }

    /// Makes an authority with the same subject and another key: what an attacker would run.
    ///
    /// # Errors
    ///
    /// [`Error::Generate`] or [`Error::ClockBeforeEpoch`] if the system is at fault.
    pub fn rogue_twin(&self) -> Result<Self, Error> {
        Self::with_algorithm(&self.common_name, self.algorithm)
    }

    /// Issues a server certificate for `names`, each a DNS name (also with a leading `*.`) or an
    /// IP address.
    ///
    /// # Errors
    ///
    /// [`Error::NoHostNames`] or [`Error::InvalidHostName`] for bad names; [`Error::Generate`] or
    /// [`Error::ClockBeforeEpoch`] if the system is at fault.
    pub fn issue(&self, names: &[impl AsRef<str>]) -> Result<Leaf, Error> {
        let hosts = names
            .iter()
            .map(|name| name.as_ref().parse())
            .collect::<Result<Vec<HostName>, _>>()?;
        let first = hosts.first().ok_or(Error::NoHostNames)?;
        let mut params = self.leaf_params(ExtendedKeyUsagePurpose::ServerAuth)?;
        // Only for people to read: peers look at the alternative names (RFC 9525, section 2).
        // A DNS name that is too long for the common name stands there alone.
        params.distinguished_name = common_name(first.as_ref()).unwrap_or_default();
        params.subject_alt_names = hosts.iter().map(san).collect::<Result<_, _>>()?;
        self.sign(&params)
    }

    /// Issues a client certificate with the common name `cn`.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn issue_client(&self, cn: &str) -> Result<Leaf, Error> {
        let mut params = self.leaf_params(ExtendedKeyUsagePurpose::ClientAuth)?;
        params.distinguished_name = common_name(cn)?;
        self.sign(&params)
    }

    /// The authority's own certificate, as PEM.
    pub fn cert_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The authority's own certificate.
    pub fn cert_der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// The authority's private key, as PEM (PKCS #8, not encrypted).
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    fn leaf_params(&self, purpose: ExtendedKeyUsagePurpose) -> Result<CertificateParams, Error> {
        let mut params = params(LEAF_LIFETIME)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Leaf, Error> {
        let key = self.algorithm.generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain_pem: certificate.pem() + &self.cert_pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.into(), self.cert_der()],
            key: key.serialize_der().into(),
        })
    }
}

/// Shows the subject, never the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("common_name", &self.common_name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The signature algorithm of an [`Authority`] and of all leaves that it issues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256 with SHA-256.
    #[default]
    EcdsaP256,
    /// Ed25519: its signatures are deterministic, which suits the counting of instructions.
    Ed25519,
}

impl KeyAlgorithm {
    fn generate(self) -> Result<KeyPair, Error> {
        let algorithm = match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// A server's or client's certificate with its chain and private key.
///
/// The chain is the leaf and then the certificate of the authority that issued it.
pub struct Leaf {
    chain_pem: String,
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Leaf {
    /// The chain as PEM, the leaf first.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key as PEM (PKCS #8, not encrypted).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The chain, the leaf first.
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key (PKCS #8).
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self {
            chain_pem: self.chain_pem.clone(),
            key_pem: self.key_pem.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// Shows the size of the chain, never the key.
impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

fn params(lifetime: Duration) -> Result<CertificateParams, Error> {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| Error::ClockBeforeEpoch)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    let mut params = CertificateParams::default();
    params.not_before = now - HOUR;
    params.not_after = now + lifetime;
    Ok(params)
}

fn common_name(text: &str) -> Result<DistinguishedName, Error> {
    let characters = text.chars().count();
    if !(1..=MAX_COMMON_NAME).contains(&characters) {
        return Err(Error::InvalidCommonName { characters });
    }
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    Ok(name)
}

fn san(host: &HostName) -> Result<SanType, Error> {
    Ok(match host.kind {
        HostKind::Ip(address) => SanType::IpAddress(address),
        HostKind::Dns => SanType::DnsName(host.as_ref().try_into()?),
    })
}
