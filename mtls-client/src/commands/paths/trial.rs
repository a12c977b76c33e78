//! Paths tried against a server.

use std::time::Duration;

use mtls_core::path::survey::{
    Candidate, Greeting, Interface, Pair, Reached, Survey, pairs, probe,
};
use mtls_core::path::{DialError, Endpoint, Host, PathKind, RouteInfo};
use mtls_core::{Error, Reason};
use tokio::task::JoinSet;

use super::findings::{Findings, NOT_KNOWN, Role, SCHEMA, Tried, suggestion};
use crate::commands::paths::settings::Paths;
use crate::connect::failure::Failure;
use crate::connect::settings::Settings;
use crate::exit::Exit;

/// A trial of all paths, those of the command line and those that the machine has.
pub(super) struct Trial<'a> {
    command: &'a Paths,
    settings: &'a Settings,
    target: &'a Endpoint,
    survey: Option<Survey>,
    failures: Vec<Failure>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        command: &'a Paths,
        settings: &'a Settings,
        target: &'a Endpoint,
        survey: Option<Survey>,
    ) -> Self {
        Self {
            command,
            settings,
            target,
            survey,
            failures: Vec::new(),
        }
    }

    /// Tries them, and says what is wrong with those that the command line names.
    pub(super) async fn run(mut self) -> (Findings, Vec<Failure>) {
        let primary = self.primary().await;
        let peer = primary.peer.filter(|_| primary.way.route.proxy.is_none());
        let candidates = self.survey.as_mut().and_then(|survey| {
            let ways = survey.candidates(peer.map(|peer| peer.ip()));
            ways.inspect_err(|error| tracing::debug!(%error, "no candidates"))
                .ok()
        });
        let candidates = candidates.unwrap_or_default();
        let mut paths = self.others(&primary, &candidates).await;
        paths.insert(0, primary);
        let reached = paths.iter().filter(|path| path.is_reached());
        let ways: Vec<Candidate> = reached.map(|path| path.way.clone()).collect();
        let interfaces = self
            .survey
            .take()
            .map(|survey| survey.interfaces)
            .unwrap_or_default();
        let pairs = pairs(&ways, &interfaces);
        if self.settings.require_independent {
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

    async fn primary(&mut self) -> Tried {
        let path = self.settings.primary.clone();
        let spec = path.kind().clone();
        // A side verifier elsewhere does not answer here.
        let asks = self
            .settings
            .side_endpoint
            .as_ref()
            .is_none_or(|there| there == self.target);
        let patience = asks.then_some(self.settings.deadline);
        let result = probe(path, self.target.clone(), patience).await;
        if let Err(error) = &result {
            let error = Error::Dial(Box::new(error.clone()));
            let failure = Failure::of_connection(&error, self.target, self.settings);
            self.failures.push(failure);
        }
        self.tried(Role::Primary, spec, result)
    }

    /// The side paths of the command line, and the ways that were found, all at once.
    async fn others(&mut self, primary: &Tried, candidates: &[Candidate]) -> Vec<Tried> {
        let given = self
            .settings
            .sides
            .iter()
            .filter(|_| self.command.has_sides);
        let mut queue: Vec<_> = given.map(|path| (Role::Side, path.clone())).collect();
        if self.command.all || !self.command.has_sides {
            let named = |way: &&Candidate| queue.iter().all(|(_, path)| *path.kind() != way.spec);
            let others = candidates
                .iter()
                .filter(|way| !primary.is_way(way) && may_reach(&way.spec, self.target))
                .filter(named);
            let found: Vec<_> = others.filter_map(Candidate::path).collect();
            let found = found
                .into_iter()
                .map(|path| self.command.adaptation.adapt(path));
            queue.extend(found.map(|path| (Role::Candidate, path)));
        }
        let to = self.settings.side_endpoint.as_ref().unwrap_or(self.target);
        let mut probes = JoinSet::new();
        for (index, (role, path)) in queue.into_iter().enumerate() {
            let (to, patience) = (to.clone(), self.settings.deadline);
            let spec = path.kind().clone();
            probes.spawn(async move { (index, role, spec, probe(path, to, Some(patience)).await) });
        }
        let mut results = probes.join_all().await;
        results.sort_by_key(|(index, ..)| *index);
        let mut tried = Vec::with_capacity(results.len());
        for (_, role, spec, result) in results {
            let one = self.tried(role, spec, result);
            if role == Role::Side {
                self.failures.extend(side_failure(&one));
            }
            tried.push(one);
        }
        tried
    }

    fn tried(&mut self, role: Role, spec: PathKind, result: Result<Reached, DialError>) -> Tried {
        let reached = match result {
            Ok(reached) => reached,
            Err(error) => return unreachable_by(role, spec, &error),
        };
        let ends = reached.local.zip(reached.peer);
        let next_hop = self
            .survey
            .as_mut()
            .zip(ends)
            .and_then(|(survey, (local, peer))| survey.next_hop(&spec, local.ip(), peer.ip()));
        Tried {
            role,
            note: self
                .survey
                .as_ref()
                .and_then(|survey| note(&reached.route, survey)),
            way: Candidate::new(spec, reached.route, next_hop),
            local: reached.local,
            peer: reached.peer,
            rtt_ms: reached.rtt.map(milliseconds),
            side_verifier: reached.greeting,
            error: None,
        }
    }

    /// Each side path of the command line, or at least one that was found, must be apart from the
    /// primary one.
    fn require_independent(&mut self, paths: &[Tried], pairs: &[Pair]) {
        let Some(primary) = paths.first().filter(|path| path.is_reached()) else {
            return;
        };
        let apart = |side: &Tried| {
            pairs.iter().any(|pair| {
                pair.paths == [primary.way.spec.clone(), side.way.spec.clone()]
                    && pair.really_different == Some(true)
            })
        };
        let others = paths.iter().skip(1).filter(|path| path.is_reached());
        let (given, found): (Vec<_>, Vec<_>) = others.partition(|path| path.role == Role::Side);
        for side in given.iter().filter(|side| !apart(side)) {
            self.failures.push(not_independent(&format!(
                "`{}` and `{}` are not independent, or it is not known that they are.",
                primary.way.spec, side.way.spec
            )));
        }
        if !self.command.has_sides && !found.iter().any(|path| apart(path)) {
            self.failures.push(not_independent(&format!(
                "no path was found that is independent of `{}`.",
                primary.way.spec
            )));
        }
    }
}

fn unreachable_by(role: Role, spec: PathKind, error: &DialError) -> Tried {
    Tried {
        role,
        way: Candidate::new(spec, RouteInfo::default(), None),
        local: None,
        peer: None,
        rtt_ms: None,
        side_verifier: None,
        note: None,
        error: Some(error.reason.to_string()),
    }
}

/// An address of one interface does not keep packets from leaving by another.
fn note(route: &RouteInfo, survey: &Survey) -> Option<String> {
    let owner: &Interface = survey.owner(route.source?)?;
    let leaves_by = route.interface.as_deref()?;
    // The addresses of the loopback interface are for all.
    if owner.name == leaves_by || leaves_by == "lo" || owner.name == "lo" {
        return None;
    }
    Some(format!(
        "its packets leave by {leaves_by}, although the address is {name}'s; if:{name}, or a \
         routing rule, takes them out of {name}",
        name = owner.name
    ))
}

/// A source reaches its own family only.
fn may_reach(spec: &PathKind, target: &Endpoint) -> bool {
    match (spec, &target.host) {
        (PathKind::Source(source), Host::Ip(to)) => source.ip().is_ipv4() == to.ip().is_ipv4(),
        _ => true,
    }
}

fn side_failure(side: &Tried) -> Option<Failure> {
    let spec = &side.way.spec;
    if let Some(error) = &side.error {
        let message = format!(
            "could not reach the side endpoint over the side path `{spec}`: {error}. Check that \
             path, or say with --side-endpoint where the side verifier is."
        );
        return Some(Failure::new(Exit::Unverified, "side-unreachable", message));
    }
    let greeting = side
        .side_verifier
        .filter(|&greeting| greeting != Greeting::Greets)?;
    let message = format!(
        "no side verifier greets over the side path `{spec}` ({}). If it is elsewhere, name it \
         with --side-endpoint.",
        greeting.as_str()
    );
    Some(Failure::new(Exit::NoProtocol, "no-greeting", message))
}

fn not_independent(what: &str) -> Failure {
    let message = format!("{what} Use another network with --side if:NAME, or a proxy.");
    Failure::new(Exit::Unverified, Reason::NotIndependent.as_str(), message)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
