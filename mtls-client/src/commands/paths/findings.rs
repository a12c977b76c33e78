//! What was found: one object, for programs as it is.

use std::net::SocketAddr;

use mtls_core::path::PathKind;
use mtls_core::path::survey::{Candidate, Greeting, Interface, Pair};
use serde::Serialize;

/// The version of this record; a change that could break a reader raises it.
pub(super) const SCHEMA: u32 = 1;

pub(super) const NOT_KNOWN: &str = "What no machine can see from inside: where two paths meet \
    later. Two providers may share a cable, a building or an owner, and close to the server all \
    paths meet.";

const NO_SECOND_PATH: &str = "No second way was found that is independent. Connect \
    another network (mobile beside Wi-Fi, a second provider), or use a machine elsewhere as a \
    proxy: `ssh -D 127.0.0.1:1080 you@elsewhere.example`, then --side socks5h://127.0.0.1:1080.";

/// Where a second way leads there, and nobody greets.
const NO_VERIFIER: &str = "A second way is there that is independent, but no side \
    verifier greets over it: the server does not speak multipath TLS, or its side verifier is \
    elsewhere (--side-endpoint).";

/// Everything that `paths` found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) schema: u32,
    pub(super) interfaces: Vec<Interface>,
    /// The ways out of this machine, by its routes.
    pub(super) candidates: Vec<Candidate>,
    pub(super) target: Option<String>,
    /// What was tried against the target.
    pub(super) paths: Vec<Tried>,
    /// Of the paths that lead to the target; without a target, of the candidates.
    pub(super) pairs: Vec<Pair>,
    /// A command to try.
    pub(super) suggestion: Option<String>,
    pub(super) not_known: &'static str,
}

/// One path that was tried.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    pub(super) role: Role,
    #[serde(flatten)]
    pub(super) way: Candidate,
    pub(super) local: Option<SocketAddr>,
    /// The proxy, where there is one.
    pub(super) peer: Option<SocketAddr>,
    pub(super) rtt_ms: Option<f64>,
    /// `None` where it was not asked for.
    pub(super) side_verifier: Option<Greeting>,
    pub(super) note: Option<String>,
    /// Why it does not lead there.
    pub(super) error: Option<String>,
}

/// Why a path was tried.
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

impl Tried {
    pub(super) fn is_reached(&self) -> bool {
        self.error.is_none()
    }

    /// Whether the other one is another name for the same way.
    pub(super) fn is_way(&self, way: &Candidate) -> bool {
        let (one, other) = (&self.way.route, &way.route);
        let same_route = one.interface.is_some()
            && one.proxy.is_none()
            && (&one.interface, one.source) == (&other.interface, other.source);
        self.way.spec == way.spec || same_route
    }
}

impl Findings {
    /// What to do, in words, where there is no command to try.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let is_tried = self.target.is_some();
        let has_primary = self.paths.first().is_some_and(Tried::is_reached);
        let different = |pair: &Pair| pair.really_different == Some(true);
        match (&self.suggestion, is_tried, has_primary) {
            // The primary path comes first.
            (Some(_), ..) | (None, true, false) => None,
            (None, true, true) if self.pairs.iter().any(different) => Some(NO_VERIFIER),
            _ => Some(NO_SECOND_PATH),
        }
    }
}

/// The command that uses the best of these paths: those that were found and are really different
/// from the primary one, the fastest first, with a side verifier where one was looked for.
pub(super) fn suggestion(paths: &[Tried], pairs: &[Pair], target: &str) -> Option<String> {
    let primary = paths.iter().find(|path| path.role == Role::Primary)?;
    let is_apart = |path: &&Tried| {
        let both = |pair: &&Pair| pair.paths == [primary.way.spec.clone(), path.way.spec.clone()];
        let different = |pair: &Pair| pair.really_different == Some(true);
        pairs.iter().find(both).is_some_and(different)
    };
    let speaks = |path: &&Tried| path.side_verifier == Some(Greeting::Greets);
    let apart = paths.iter().filter(is_apart).filter(speaks);
    let best = apart.min_by(|one, other| {
        let rtt = |path: &Tried| path.rtt_ms.unwrap_or(f64::INFINITY);
        rtt(one).total_cmp(&rtt(other))
    })?;
    Some(command(&primary.way.spec, &best.way.spec, target))
}

/// The same, where nothing was tried.
pub(super) fn suggestion_untried(pairs: &[Pair]) -> Option<String> {
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
