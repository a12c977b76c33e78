//! The known host of one connection: its entry, and what follows from it
//! (`docs/protocol.md`, section 13).

use std::sync::Arc;

use super::settings::{ClientPaths, Memory};
use crate::error::Error;
use crate::known_hosts::{Change, HostEntry, KeyPin, KnownHosts, Remember, Support};
use crate::path::{Dial, Endpoint};
use crate::proto::client::SideFailure;
use crate::verdict::method::Method;
use crate::verdict::policy::Policy;
use crate::verdict::resumption::ResumptionFailure;
use crate::verdict::{Outcome, PathReport, PathRole, RAW_PUBLIC_KEY, Reason, TlsReport, Verdict};

/// The host of one connection, as the store knows it.
pub(crate) struct KnownHost {
    pub(crate) host: Endpoint,
    pub(crate) entry: Option<HostEntry>,
    /// The policy that applies: never less strict than the configured one.
    pub(crate) policy: Policy,
    /// The policy without the entry.
    pub(crate) configured: Policy,
    pub(crate) method: Method,
    store: Option<Arc<dyn KnownHosts>>,
    /// Names the method and the side paths; `None` where one has no name.
    sides: Option<String>,
    /// The side endpoint of the settings.
    side_endpoint: Option<Endpoint>,
    /// The key of a SMKEX server may differ from the remembered one.
    accept_new_key: bool,
    allow_pinned: bool,
}

impl<D: Dial> ClientPaths<D> {
    /// Looks up a host for a connection with this policy and method.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn known(
        &self,
        host: &Endpoint,
        policy: Policy,
        method: Method,
    ) -> Result<KnownHost, Error> {
        let Memory {
            store,
            accept_new_key,
            allow_pinned,
            ..
        } = &self.settings.memory;
        let entry = match store {
            Some(store) => store.lookup(host).await?,
            None => None,
        };
        let known = KnownHost {
            host: host.clone(),
            entry: None,
            policy,
            configured: policy,
            method,
            store: store.clone(),
            sides: store.as_ref().and_then(|_| self.name_of_sides(method)),
            side_endpoint: self.settings.side_endpoint.clone(),
            accept_new_key: *accept_new_key,
            allow_pinned: *allow_pinned,
        };
        Ok(known.with_entry(entry))
    }

    /// `None` where a path has no name.
    fn name_of_sides(&self, method: Method) -> Option<String> {
        let mut name = method.to_string();
        for side in &self.settings.sides {
            name.push_str(&format!(" {}", side.name()?));
        }
        Some(name)
    }

    /// Records what a connection has shown. A store that cannot be written has reported it.
    pub(crate) async fn record(&self, known: &KnownHost, verdict: &Verdict) {
        let Some(store) = &known.store else {
            return;
        };
        let memory = &self.settings.memory;
        let Some(change) = known.change(memory, verdict) else {
            return;
        };
        if let Err(error) = store.record(&known.host, change).await {
            tracing::warn!(host = %known.host, %error, "host not remembered");
        }
    }
}

impl KnownHost {
    /// A host without a store.
    #[cfg(test)]
    pub(crate) fn unknown(policy: Policy) -> Self {
        Self {
            host: "example.org:443".parse().expect("an endpoint"),
            entry: None,
            policy,
            configured: policy,
            method: Method::Side,
            store: None,
            sides: None,
            side_endpoint: None,
            accept_new_key: false,
            allow_pinned: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn entered(self, entry: HostEntry) -> Self {
        self.with_entry(Some(entry))
    }

    /// A host whose entry says that nothing verifies it over the side paths of today.
    #[cfg(test)]
    pub(crate) fn unsupported(mut entry: HostEntry) -> Self {
        let mut known = Self::unknown(Policy::Prefer);
        known.sides = Some("direct".to_owned());
        entry.sides = known.sides();
        known.entered(entry)
    }

    #[cfg(test)]
    pub(crate) fn allowing_pinned(mut self) -> Self {
        self.allow_pinned = true;
        self
    }

    fn with_entry(mut self, entry: Option<HostEntry>) -> Self {
        match entry.as_ref().map(|entry| entry.support) {
            // Its greeting was seen: resumption, which is weaker, is no substitute.
            Some(Support::Greets) => {
                self.policy = Policy::Require;
                self.method = Method::Side;
            }
            Some(Support::Resumes) if self.method != Method::Side => {
                self.policy = Policy::Require;
            }
            _ => {}
        }
        self.entry = entry;
        self
    }

    /// Whether there is anywhere to record what a connection shows.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// With the side verifier at this address.
    pub(crate) fn at(mut self, side: &Endpoint) -> Self {
        self.side_endpoint = Some(side.clone());
        self
    }

    /// A name whose server is reached at another target: without a side endpoint of its own, the
    /// side verifier is there.
    #[cfg(feature = "relay")]
    pub(crate) fn reached_by(mut self, target: &Endpoint) -> Self {
        if *self.side_endpoint() == self.host {
            self.side_endpoint = Some(target.clone());
        }
        // The name is the client's statement, and a relay without keys checks no certificate: such
        // a connection enforces the entry, and changes nothing in it.
        self.store = None;
        self
    }

    /// The address of the side verifier: that of the settings, that of the entry, or the host.
    pub(crate) fn side_endpoint(&self) -> &Endpoint {
        let of_entry = self.entry.as_ref();
        let of_entry = of_entry.and_then(|entry| entry.side_endpoint.as_ref());
        self.side_endpoint
            .as_ref()
            .or(of_entry)
            .unwrap_or(&self.host)
    }

    /// Names the method, the side paths and the address of the side verifier.
    fn sides(&self) -> Option<KeyPin> {
        let name = self.sides.as_ref()?;
        let name = format!("{name} to {}", self.side_endpoint());
        Some(KeyPin::of(name.as_bytes()))
    }

    /// Whether a session whose origin was verified by this method is enough.
    pub(crate) fn may_inherit(&self, method: Method) -> bool {
        method == Method::Side || !self.greets()
    }

    /// Whether the server's greeting is known.
    pub(crate) fn greets(&self) -> bool {
        let greets = |entry: &HostEntry| entry.support == Support::Greets;
        self.entry.as_ref().is_some_and(greets)
    }

    /// Whether nothing can verify the host over these side paths, as seen a short time ago, and the
    /// policy goes on without.
    pub(crate) fn is_unsupported(&self) -> bool {
        let weak = |entry: &HostEntry| {
            entry.support == Support::Neither
                && entry.sides.is_some()
                && entry.sides == self.sides()
        };
        self.policy == Policy::Prefer && self.entry.as_ref().is_some_and(weak)
    }

    /// The raw public key that this server showed, if the entry has another one.
    pub(crate) fn changed_key(&self, tls: &TlsReport) -> Option<KeyPin> {
        let known = self.entry.as_ref()?.raw_key?;
        let (key, raw) = shown_key(tls)?;
        (raw && key != known && !self.accept_new_key).then_some(key)
    }

    /// Whether a connection without a side path may go on, since the server showed a remembered key.
    pub(crate) fn is_pinned(&self, tls: &TlsReport) -> bool {
        let known = |(key, raw): (KeyPin, bool)| {
            let entry = self.entry.as_ref();
            entry.is_some_and(|entry| entry.has_key(&key, raw))
        };
        // A resumed handshake shows no key: the certificate is the remembered one.
        self.allow_pinned && tls.handshake != Some("resumed") && shown_key(tls).is_some_and(known)
    }

    /// Whether this reason contradicts the entry: the server seems to support nothing any more.
    pub(crate) fn is_contradicted_by(&self, reason: Reason) -> bool {
        match self.entry.as_ref().map(|entry| entry.support) {
            Some(Support::Greets) => matches!(
                reason,
                Reason::Side(SideFailure::NoGreeting) | Reason::NotTls13 | Reason::NotTls
            ),
            Some(Support::Resumes) => {
                self.method != Method::Side
                    && reason == Reason::Resumption(ResumptionFailure::Unsupported)
            }
            _ => false,
        }
    }

    fn change(&self, memory: &Memory, verdict: &Verdict) -> Option<Change> {
        match (&verdict.outcome, memory.remember) {
            (Outcome::Verified(_), Some(max_age)) => {
                let remember = Remember::by_user(max_age)
                    .side_endpoint(self.remembered_side_endpoint())
                    .accept_new_key(self.accept_new_key);
                Change::remember(verdict, remember)
            }
            (Outcome::Verified(_), None) if self.entry.is_some() => {
                Change::seen(verdict, self.accept_new_key)
            }
            (
                Outcome::Unverified(
                    Reason::Side(SideFailure::NoGreeting)
                    | Reason::Resumption(ResumptionFailure::Unsupported),
                ),
                _,
            ) if self.policy == Policy::Prefer
                && !memory.neither.is_zero()
                && nothing_verifies(verdict) =>
            {
                Some(Change::neither(memory.neither, self.sides()?))
            }
            _ => None,
        }
    }

    fn remembered_side_endpoint(&self) -> Option<Endpoint> {
        let endpoint = self.side_endpoint();
        (*endpoint != self.host).then(|| endpoint.clone())
    }
}

/// Whether every side path showed that the server supports no verification. One that could not be
/// connected shows nothing, and one that verified shows the contrary.
fn nothing_verifies(verdict: &Verdict) -> bool {
    let shown = [
        Reason::Side(SideFailure::NoGreeting),
        Reason::Resumption(ResumptionFailure::Unsupported),
    ]
    .map(|reason| Some(reason.as_str()));
    let is_side = |path: &&PathReport| path.role == PathRole::Side;
    let mut sides = verdict.paths.iter().filter(is_side);
    sides.all(|side| shown.contains(&side.result))
}

/// The key that the server showed, and whether it is a raw one.
fn shown_key(tls: &TlsReport) -> Option<(KeyPin, bool)> {
    let key = tls.peer_key_sha256.as_deref()?.parse().ok()?;
    Some((key, tls.server_key == Some(RAW_PUBLIC_KEY)))
}

#[cfg(test)]
mod tests;
