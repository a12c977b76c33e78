//! The result of one side path, by either method.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::path::DialError;
use crate::proto::client::SideProof;
use crate::verdict::evidence::ServerSignature;
use crate::verdict::resumption::ResumptionProof;
use crate::verdict::{PathReport, Reason};

/// The result of one side path, for a verdict.
pub(crate) struct SideResult {
    pub(crate) outcome: SideOutcome,
    /// Without the independence and the result, which the evaluation adds.
    pub(crate) report: PathReport,
    pub(crate) dial_error: Option<Arc<DialError>>,
    /// The certificates that were presented on the side path; the side protocol presents none.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The server's signature with the key of that chain.
    pub(crate) signature: Option<ServerSignature>,
}

/// The state of the verification over one side path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SideOutcome {
    /// By the side protocol.
    Proven(SideProof),
    /// By resumption.
    Resumed(ResumptionProof),
    Failed(Reason),
    Pending,
}
