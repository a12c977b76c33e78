//! The findings of `paths`, which are also the JSON object for programs.

use std::net::SocketAddr;

use mtls_core::path::PathKind;
use mtls_core::path::survey::{Candidate, Greeting, Interface, Pair};
use serde::Serialize;

/// The version of this record; a change that could break a reader raises it.
pub(super) const SCHEMA: u32 = 1;

pub(super) const NOT_KNOWN: &str = "Not visible from this machine: where two paths meet later. Two \
    providers may share a cable, a building or an owner, and all paths meet close to the server.";

const NO_SECOND_PATH: &str = "No independent second path was found. Connect another network (mobile \
    in addition to Wi-Fi, a second provider), or use a machine elsewhere as a proxy: \
    `ssh -D 127.0.0.1:1080 you@elsewhere.example`, then --side socks5h://127.0.0.1:1080.";

/// An independent second path reaches the target, but no side verifier greets over it.
const NO_VERIFIER: &str = "There is an independent second path, but no side verifier greets over it: \
    the server does not speak multipath TLS, or its side verifier has another address \
    (--side-endpoint).";

/// The findings of one run.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) schema: u32,
    pub(super) interfaces: Vec<Interface>,
    /// The paths of this machine, from its routes.
    pub(super) candidates: Vec<Candidate>,
    pub(super) target: Option<String>,
    /// The paths that were tested against the target.
    pub(super) paths: Vec<TestedPath>,
    /// Pairs of paths that reach the target; without a target, of candidates.
    pub(super) pairs: Vec<Pair>,
    /// A command to try.
    pub(super) suggestion: Option<String>,
    pub(super) not_known: &'static str,
}

/// A path that was tested.
#[derive(Debug, Serialize)]
pub(super) struct TestedPath {
    pub(super) role: Role,
    #[serde(flatten)]
    pub(super) candidate: Candidate,
    pub(super) local: Option<SocketAddr>,
    /// The proxy, where there is one.
    pub(super) peer: Option<SocketAddr>,
    pub(super) rtt_ms: Option<f64>,
    /// `None` if it was not tested.
    pub(super) side_verifier: Option<Greeting>,
    pub(super) note: Option<String>,
    /// The reason why the path does not reach the target.
    pub(super) error: Option<String>,
}

/// The origin of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    /// `--primary`.
    Primary,
    /// `--side`.
    Side,
    /// Found among the machine's routes.
    Candidate,
}

impl TestedPath {
    pub(super) fn is_reached(&self) -> bool {
        self.error.is_none()
    }

    /// Whether another specification stands for the same path.
    pub(super) fn is_same_path(&self, candidate: &Candidate) -> bool {
        let (one, other) = (&self.candidate.route, &candidate.route);
        let same_route = one.interface.is_some()
            && one.proxy.is_none()
            && (&one.interface, one.source) == (&other.interface, other.source);
        self.candidate.spec == candidate.spec || same_route
    }
}

impl Findings {
    /// Advice, if there is no command to suggest.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let is_tested = self.target.is_some();
        let has_primary = self.paths.first().is_some_and(TestedPath::is_reached);
        let different = |pair: &Pair| pair.really_different == Some(true);
        match (&self.suggestion, is_tested, has_primary) {
            // The error of the primary path is reported instead.
            (Some(_), ..) | (None, true, false) => None,
            (None, true, true) if self.pairs.iter().any(different) => Some(NO_VERIFIER),
            _ => Some(NO_SECOND_PATH),
        }
    }
}

/// The command with the fastest path that is independent of the primary path and has a side
/// verifier.
pub(super) fn suggestion(paths: &[TestedPath], pairs: &[Pair], target: &str) -> Option<String> {
    let primary = paths.iter().find(|path| path.role == Role::Primary)?;
    let is_independent = |path: &&TestedPath| {
        let both = |pair: &&Pair| {
            pair.paths == [primary.candidate.spec.clone(), path.candidate.spec.clone()]
        };
        let different = |pair: &Pair| pair.really_different == Some(true);
        pairs.iter().find(both).is_some_and(different)
    };
    let speaks = |path: &&TestedPath| path.side_verifier == Some(Greeting::Greets);
    let independent = paths.iter().filter(is_independent).filter(speaks);
    let best = independent.min_by(|one, other| {
        let rtt = |path: &TestedPath| path.rtt_ms.unwrap_or(f64::INFINITY);
        rtt(one).total_cmp(&rtt(other))
    })?;
    Some(command(
        &primary.candidate.spec,
        &best.candidate.spec,
        target,
    ))
}

/// The command for the first independent pair, if no path was tested.
pub(super) fn untested_suggestion(pairs: &[Pair]) -> Option<String> {
    let pair = pairs
        .iter()
        .find(|pair| pair.really_different == Some(true))?;
    let [one, other] = &pair.paths;
    Some(command(one, other, "HOST"))
}

fn command(primary: &PathKind, side: &PathKind, target: &str) -> String {
    let primary = match primary {
        PathKind::Direct => String::new(),
        named => format!("--primary {named} "),
    };
    format!("mtls-client check {primary}--side {side} --require-independent {target}")
}
