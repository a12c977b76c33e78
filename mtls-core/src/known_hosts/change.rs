//! Changes of an entry, and the rules by which one takes effect (`docs/protocol.md`, section 13.2).

use std::time::Duration;

use super::entry::{
    HostEntry, KeyPin, MAX_AGE, MAX_KEYS, MAX_NEITHER_AGE, Origin, SEEN_INTERVAL, Support,
};
use crate::path::Endpoint;
use crate::verdict::method::Method;
use crate::verdict::{RAW_PUBLIC_KEY, Verdict};

/// A change of the entry of one host, for [`KnownHosts::record`](super::KnownHosts::record).
///
/// A program makes [`remember`](Self::remember) and [`forget`](Self::forget), both from the verdict
/// of a verified connection to that host.
#[derive(Clone, Debug)]
pub struct Change(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Remember(Remember, Observed),
    Seen {
        observed: Observed,
        accept_new_key: bool,
    },
    Forget,
    Neither {
        max_age: Duration,
        sides: KeyPin,
    },
}

/// The parts of an entry that the user or the server determines.
///
/// ```
/// use std::time::Duration;
///
/// use mtls_core::Verdict;
/// use mtls_core::known_hosts::{Change, Remember};
///
/// /// The change of an entry after a connection, if it was verified.
/// fn remember(verdict: &Verdict) -> Option<Change> {
///     Change::remember(verdict, Remember::by_user(Duration::from_secs(86_400)))
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Remember {
    origin: Origin,
    max_age: Duration,
    side_endpoint: Option<Endpoint>,
    accept_new_key: bool,
}

/// The observations on a verified connection.
#[derive(Clone, Debug)]
struct Observed {
    support: Support,
    key: Option<KeyPin>,
    raw: bool,
}

impl Remember {
    /// An entry that the user decides on.
    pub fn by_user(max_age: Duration) -> Self {
        Self {
            origin: Origin::User,
            max_age,
            side_endpoint: None,
            accept_new_key: false,
        }
    }

    /// An entry that the server requested in a response of the verified connection.
    #[cfg(feature = "known-hosts")]
    pub(super) fn by_field(max_age: Duration, side_endpoint: Option<Endpoint>) -> Self {
        Self {
            origin: Origin::Field,
            side_endpoint,
            ..Self::by_user(max_age)
        }
    }

    /// Sets the address of the side verifier, if it is not the host and port itself.
    pub fn side_endpoint(mut self, endpoint: Option<Endpoint>) -> Self {
        self.side_endpoint = endpoint;
        self
    }

    /// Lets a raw public key (SMKEX) replace the one of the entry.
    pub(crate) fn accept_new_key(mut self, accept: bool) -> Self {
        self.accept_new_key = accept;
        self
    }
}

impl Change {
    /// Remembers the server of a verified connection; `None` for a connection that is not verified.
    /// By the side protocol it *greets*, by resumption it *resumes*.
    pub fn remember(verdict: &Verdict, remember: Remember) -> Option<Self> {
        let observed = Observed::of(verdict)?;
        Some(Self(Kind::Remember(remember, observed)))
    }

    /// Removes the entry that the server requested; `None` for a connection that is not verified by
    /// the side protocol.
    pub fn forget(verdict: &Verdict) -> Option<Self> {
        let observed = Observed::of(verdict)?;
        (observed.support == Support::Greets).then_some(Self(Kind::Forget))
    }

    /// Renews what is known of a host that has an entry.
    pub(crate) fn seen(verdict: &Verdict, accept_new_key: bool) -> Option<Self> {
        Some(Self(Kind::Seen {
            observed: Observed::of(verdict)?,
            accept_new_key,
        }))
    }

    /// Remembers for a short time that nothing can verify a host over these side paths.
    pub(crate) fn neither(max_age: Duration, sides: KeyPin) -> Self {
        Self(Kind::Neither { max_age, sides })
    }

    /// Whether this change makes an entry where there is none.
    pub fn makes_an_entry(&self) -> bool {
        matches!(self.0, Kind::Remember(..) | Kind::Neither { .. })
    }

    /// The entry of a host after this change, at `now`, in seconds since 1970-01-01 UTC; `None`: no
    /// entry. `entry` is the newest one; the result replaces it.
    pub fn apply(self, entry: Option<HostEntry>, now: u64) -> Option<HostEntry> {
        let entry = entry.filter(|entry| !entry.is_expired(now));
        match self.0 {
            Kind::Remember(remember, observed) => {
                let strong = entry.filter(|entry| entry.support != Support::Neither);
                let renewed = remember.entry(&observed, strong.clone(), now);
                let recent = strong.filter(|old| old.is_recent(&renewed, now));
                Some(recent.unwrap_or(renewed))
            }
            Kind::Seen {
                observed,
                accept_new_key,
            } => entry.map(|entry| observed.renew(entry, accept_new_key, now)),
            // The user's decision stands.
            Kind::Forget => entry.filter(|entry| entry.origin == Origin::User),
            Kind::Neither { max_age, sides } => {
                let strong = entry.filter(|entry| entry.support != Support::Neither);
                Some(strong.unwrap_or_else(|| neither(max_age, sides, now)))
            }
        }
    }
}

fn neither(max_age: Duration, sides: KeyPin, now: u64) -> HostEntry {
    HostEntry {
        support: Support::Neither,
        origin: Origin::Observed,
        recorded: now,
        max_age: max_age.min(MAX_NEITHER_AGE).as_secs(),
        verified: None,
        side_endpoint: None,
        keys: Vec::new(),
        raw_key: None,
        sides: Some(sides),
    }
}

impl Remember {
    /// A new entry, or `entry` renewed.
    fn entry(self, observed: &Observed, entry: Option<HostEntry>, now: u64) -> HostEntry {
        let new = HostEntry {
            support: observed.support,
            origin: self.origin,
            recorded: now,
            max_age: self.max_age.min(MAX_AGE).as_secs(),
            verified: Some(now),
            side_endpoint: self.side_endpoint,
            keys: Vec::new(),
            raw_key: None,
            sides: None,
        };
        let mut merged = match entry {
            None => new,
            Some(old) => merge(old, new),
        };
        observed.renew_always(&mut merged, self.accept_new_key, now);
        merged
    }
}

/// A server cannot shorten or redirect what the user decided, and resumption does not make less of a
/// host that greets.
pub(super) fn merge(old: HostEntry, new: HostEntry) -> HostEntry {
    let kept_by_user = old.origin == Origin::User && new.origin != Origin::User;
    let (recorded, max_age) = match kept_by_user && old.expires() >= new.expires() {
        true => (old.recorded, old.max_age),
        // A clock that was set back shortens nothing.
        false => (new.recorded.max(old.recorded), new.max_age),
    };
    let side_endpoint = match kept_by_user {
        true => old.side_endpoint,
        false => new.side_endpoint,
    };
    HostEntry {
        support: old.support.max(new.support),
        origin: if kept_by_user { old.origin } else { new.origin },
        recorded,
        max_age,
        verified: old.verified.max(new.verified),
        side_endpoint,
        keys: match old.keys.is_empty() {
            true => new.keys,
            false => old.keys,
        },
        raw_key: old.raw_key.or(new.raw_key),
        sides: None,
    }
}

impl Observed {
    fn of(verdict: &Verdict) -> Option<Self> {
        let verified = verdict.verified()?;
        // It shows nothing new of the server, and a stolen ticket is enough for it.
        if verified.inheritance().is_some() {
            return None;
        }
        let support = match verified.method() {
            Method::Side => Support::Greets,
            _ => Support::Resumes,
        };
        Some(Self {
            support,
            key: verdict
                .tls
                .peer_key_sha256
                .as_deref()
                .and_then(|pin| pin.parse().ok()),
            raw: verdict.tls.server_key == Some(RAW_PUBLIC_KEY),
        })
    }

    /// Unchanged where nothing new is worth a write.
    fn renew(&self, mut entry: HostEntry, accept_new_key: bool, now: u64) -> HostEntry {
        let is_new_key = match (&self.key, self.raw) {
            (Some(key), false) => entry.keys.first() != Some(key),
            (Some(key), true) => match entry.raw_key {
                None => true,
                Some(known) => accept_new_key && known != *key,
            },
            (None, _) => false,
        };
        let is_recent = entry.verified.is_some_and(|verified| {
            (verified..verified.saturating_add(SEEN_INTERVAL)).contains(&now)
        });
        let is_stronger = self.support > entry.support;
        if entry.support != Support::Neither && (is_new_key || !is_recent || is_stronger) {
            entry.support = entry.support.max(self.support);
            self.renew_always(&mut entry, accept_new_key, now);
        }
        entry
    }

    fn renew_always(&self, entry: &mut HostEntry, accept_new_key: bool, now: u64) {
        entry.verified = Some(now);
        let Some(key) = self.key else {
            return;
        };
        if self.raw {
            entry.raw_key = entry.raw_key.filter(|_| !accept_new_key).or(Some(key));
            return;
        }
        entry.keys.retain(|known| *known != key);
        entry.keys.insert(0, key);
        entry.keys.truncate(MAX_KEYS);
    }
}
