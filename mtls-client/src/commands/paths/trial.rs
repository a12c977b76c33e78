//! Tests of paths against a server.

use std::time::Duration;

use mtls_core::path::survey::{
    Candidate, Greeting, Interface, Pair, Reached, Survey, pairs, probe,
};
use mtls_core::path::{DialError, Endpoint, Host, PathKind, RouteInfo};
use mtls_core::{Error, Reason};
use tokio::task::JoinSet;

use super::args::Args;
use super::findings::{Findings, NOT_KNOWN, Role, SCHEMA, TestedPath, suggestion};
use crate::args::TlsArgs;
use crate::connect::failure::connection_failure;
use crate::connect::path_set::{PathOptions, PathSet};
use crate::exit::Exit;
use crate::failure::Failure;

/// A test of the paths of the command line and of this machine.
pub(super) struct Trial {
    target: Endpoint,
    paths: PathSet,
    options: PathOptions,
    /// Whether the command line names side paths.
    has_sides: bool,
    /// Whether the paths of the machine are tested too.
    finds: bool,
    require_independent: bool,
    deadline: Duration,
    survey: Option<Survey>,
    failures: Vec<Failure>,
}

impl Trial {
    pub(super) fn new(
        args: Args,
        target: Endpoint,
        survey: Option<Survey>,
    ) -> Result<Self, Failure> {
        let connect_timeout = args.times.connect_timeout;
        let options = PathOptions::new(&args.paths, connect_timeout, &TlsArgs::default())?;
        let has_sides = !args.paths.sides.is_empty();
        Ok(Self {
            target,
            // `--dns` may name a path that is yet to be found.
            paths: PathSet::with_options(args.paths, &options),
            options,
            has_sides,
            finds: args.all || !has_sides,
            require_independent: args.require_independent,
            deadline: args.deadline,
            survey,
            failures: Vec::new(),
        })
    }

    /// Tests the paths. The failures are those of paths that the command line names.
    pub(super) async fn run(mut self) -> (Findings, Vec<Failure>) {
        let primary = self.primary().await;
        let peer = primary
            .peer
            .filter(|_| primary.candidate.route.proxy.is_none());
        let candidates = self.survey.as_mut().and_then(|survey| {
            let candidates = survey.candidates(peer.map(|peer| peer.ip()));
            candidates
                .inspect_err(|error| tracing::debug!(%error, "no candidates"))
                .ok()
        });
        let candidates = candidates.unwrap_or_default();
        let mut paths = self.others(&primary, &candidates).await;
        paths.insert(0, primary);
        let reached = paths.iter().filter(|path| path.is_reached());
        let reached: Vec<Candidate> = reached.map(|path| path.candidate.clone()).collect();
        let interfaces = self
            .survey
            .take()
            .map(|survey| survey.interfaces)
            .unwrap_or_default();
        let pairs = pairs(&reached, &interfaces);
        if self.require_independent {
            self.require_independent(&paths, &pairs);
        }
        let target = self.target.to_string();
        let findings = Findings {
            schema: SCHEMA,
            interfaces,
            candidates,
            suggestion: suggestion(&paths, &pairs, &target),
            target: Some(target),
            paths,
            pairs,
            not_known: NOT_KNOWN,
        };
        (findings, self.failures)
    }

    async fn primary(&mut self) -> TestedPath {
        let path = self.paths.primary.clone();
        let spec = path.kind().clone();
        // With --side-endpoint the side verifier is at another address.
        let side_endpoint = self.paths.side_endpoint.as_ref();
        let is_here = side_endpoint.is_none_or(|endpoint| *endpoint == self.target);
        let deadline = is_here.then_some(self.deadline);
        let result = probe(path, self.target.clone(), deadline).await;
        if let Err(error) = &result {
            let error = Error::Dial(Box::new(error.clone()));
            let failure = connection_failure(&error, &self.target, &self.paths);
            self.failures.push(failure);
        }
        self.tested(Role::Primary, spec, result)
    }

    /// Tests the side paths of the command line and the paths of the machine, concurrently.
    async fn others(&mut self, primary: &TestedPath, candidates: &[Candidate]) -> Vec<TestedPath> {
        let given = self.paths.sides.iter().filter(|_| self.has_sides);
        let mut queue: Vec<_> = given.map(|path| (Role::Side, path.clone())).collect();
        if self.finds {
            let new = |candidate: &&Candidate| {
                queue.iter().all(|(_, path)| *path.kind() != candidate.spec)
            };
            let others = candidates
                .iter()
                .filter(|candidate| {
                    !primary.is_same_path(candidate) && may_reach(&candidate.spec, &self.target)
                })
                .filter(new);
            let found: Vec<_> = others.filter_map(Candidate::path).collect();
            let found = found.into_iter().map(|path| self.options.apply(path));
            queue.extend(found.map(|path| (Role::Candidate, path)));
        }
        let to = self.paths.side_endpoint.as_ref().unwrap_or(&self.target);
        let mut probes = JoinSet::new();
        for (index, (role, path)) in queue.into_iter().enumerate() {
            let (to, deadline) = (to.clone(), self.deadline);
            let spec = path.kind().clone();
            probes.spawn(async move { (index, role, spec, probe(path, to, Some(deadline)).await) });
        }
        let mut results = probes.join_all().await;
        results.sort_by_key(|(index, ..)| *index);
        let mut tested = Vec::with_capacity(results.len());
        for (_, role, spec, result) in results {
            let path = self.tested(role, spec, result);
            if role == Role::Side {
                self.failures.extend(side_failure(&path));
            }
            tested.push(path);
        }
        tested
    }

    fn tested(
        &mut self,
        role: Role,
        spec: PathKind,
        result: Result<Reached, DialError>,
    ) -> TestedPath {
        let reached = match result {
            Ok(reached) => reached,
            Err(error) => return unreachable_path(role, spec, &error),
        };
        let ends = reached.local.zip(reached.peer);
        let next_hop = self
            .survey
            .as_mut()
            .zip(ends)
            .and_then(|(survey, (local, peer))| survey.next_hop(&spec, local.ip(), peer.ip()));
        TestedPath {
            role,
            note: self
                .survey
                .as_ref()
                .and_then(|survey| note(&reached.route, survey)),
            candidate: Candidate::new(spec, reached.route, next_hop),
            local: reached.local,
            peer: reached.peer,
            rtt_ms: reached.rtt.map(milliseconds),
            side_verifier: reached.greeting,
            error: None,
        }
    }

    /// Requires that each side path of the command line, or at least one that was found, is
    /// independent of the primary path.
    fn require_independent(&mut self, paths: &[TestedPath], pairs: &[Pair]) {
        let Some(primary) = paths.first().filter(|path| path.is_reached()) else {
            return;
        };
        let independent = |side: &TestedPath| {
            pairs.iter().any(|pair| {
                pair.paths == [primary.candidate.spec.clone(), side.candidate.spec.clone()]
                    && pair.really_different == Some(true)
            })
        };
        let others = paths.iter().skip(1).filter(|path| path.is_reached());
        let (given, found): (Vec<_>, Vec<_>) = others.partition(|path| path.role == Role::Side);
        for side in given.iter().filter(|side| !independent(side)) {
            self.failures.push(not_independent(&format!(
                "`{}` and `{}` are not known to be independent",
                primary.candidate.spec, side.candidate.spec
            )));
        }
        if !self.has_sides && !found.iter().any(|path| independent(path)) {
            self.failures.push(not_independent(&format!(
                "no path was found that is independent of `{}`",
                primary.candidate.spec
            )));
        }
    }
}

fn unreachable_path(role: Role, spec: PathKind, error: &DialError) -> TestedPath {
    TestedPath {
        role,
        candidate: Candidate::new(spec, RouteInfo::default(), None),
        local: None,
        peer: None,
        rtt_ms: None,
        side_verifier: None,
        note: None,
        error: Some(error.reason.to_string()),
    }
}

/// The note for packets that leave by another interface than the one of their source address.
fn note(route: &RouteInfo, survey: &Survey) -> Option<String> {
    let owner: &Interface = survey.owner(route.source?)?;
    let leaves_by = route.interface.as_deref()?;
    // Addresses of the loopback interface may be used on every interface.
    if owner.name == leaves_by || leaves_by == "lo" || owner.name == "lo" {
        return None;
    }
    Some(format!(
        "packets leave by {leaves_by}, although the source address belongs to {name}; use if:{name}, \
         or a routing rule, to send them by {name}",
        name = owner.name
    ))
}

/// Whether the source and the target have the same address family.
fn may_reach(spec: &PathKind, target: &Endpoint) -> bool {
    match (spec, &target.host) {
        (PathKind::Source(source), Host::Ip(to)) => source.ip().is_ipv4() == to.ip().is_ipv4(),
        _ => true,
    }
}

fn side_failure(side: &TestedPath) -> Option<Failure> {
    let spec = &side.candidate.spec;
    if let Some(error) = &side.error {
        let message = format!(
            "could not reach the side endpoint over the side path `{spec}`: {error}; check that \
             path, or name the side verifier with --side-endpoint"
        );
        return Some(Failure::new(Exit::Unverified, "side-unreachable", message));
    }
    let greeting = side
        .side_verifier
        .filter(|&greeting| greeting != Greeting::Greets)?;
    let message = format!(
        "no side verifier greets over the side path `{spec}`: {}; if it has another address, name \
         it with --side-endpoint",
        greeting.as_str()
    );
    Some(Failure::new(Exit::NoProtocol, "no-greeting", message))
}

fn not_independent(what: &str) -> Failure {
    let message = format!("{what}; use another network with --side if:NAME, or a proxy");
    Failure::new(Exit::Unverified, Reason::NotIndependent.as_str(), message)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
