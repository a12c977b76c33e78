//! The entries of a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::clock::Anchor;
use super::is_strong;
use crate::known_hosts::canonical;
use crate::known_hosts::change::merge;
use crate::known_hosts::entry::{HostEntry, MAX_KEYS, endpoint};
use crate::known_hosts::error::KnownHostsFailure;
use crate::path::Endpoint;

const VERSION: u64 = 1;

/// The most entries that a file may have, whatever the setting of the program that wrote it.
const MAX_HOSTS: usize = 8192;

/// The longest part of a damaged file that its error shows, in bytes.
const MAX_QUOTED: usize = 40;

/// The entries of a file, by host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    clock: Option<Anchor>,
    /// By the text of the host and port.
    hosts: BTreeMap<String, (Endpoint, HostEntry)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock: Option<Anchor>,
    hosts: Vec<Line>,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(with = "endpoint")]
    host: Endpoint,
    entry: HostEntry,
}

impl Contents {
    pub(super) fn clock(&self) -> Option<&Anchor> {
        self.clock.as_ref()
    }

    pub(super) fn set_clock(&mut self, clock: Anchor) {
        self.clock = Some(clock);
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = (&Endpoint, &HostEntry)> {
        self.hosts.values().map(|(host, entry)| (host, entry))
    }

    pub(super) fn get(&self, host: &Endpoint) -> Option<&HostEntry> {
        self.hosts.get(&host.to_string()).map(|(_, entry)| entry)
    }

    pub(super) fn remove(&mut self, host: &Endpoint) -> bool {
        self.hosts.remove(&host.to_string()).is_some()
    }

    /// Entries that another store may take over.
    pub(super) fn strong(&self, now: u64) -> Self {
        let mut hosts = self.hosts.clone();
        hosts.retain(|_, (_, entry)| is_strong(entry) && !entry.is_expired(now));
        Self { clock: None, hosts }
    }

    /// Replaces or adds an entry.
    pub(super) fn insert(
        &mut self,
        host: Endpoint,
        entry: HostEntry,
        max_hosts: usize,
        now: u64,
    ) -> Result<(), KnownHostsFailure> {
        let key = host.to_string();
        if !self.hosts.contains_key(&key) {
            self.make_room(&entry, max_hosts, now)?;
        }
        self.hosts.insert(key, (host, entry));
        Ok(())
    }

    /// Adds an entry of another store. An entry here that is at least as strong and lasts as long
    /// stays; a weaker one keeps its keys.
    pub(super) fn import(
        &mut self,
        host: Endpoint,
        entry: HostEntry,
        max_hosts: usize,
        now: u64,
    ) -> Result<(), KnownHostsFailure> {
        let rank = |entry: &HostEntry| (entry.support, entry.expires());
        let known = self.get(&host);
        let entry = match known.filter(|known| is_strong(known) && !known.is_expired(now)) {
            Some(known) if rank(known) >= rank(&entry) => return Ok(()),
            Some(known) => merge(known.clone(), entry),
            None => entry,
        };
        self.insert(host, entry, max_hosts, now)
    }

    /// Expired entries make room for any, and those of servers without support for stronger ones.
    fn make_room(
        &mut self,
        entry: &HostEntry,
        max_hosts: usize,
        now: u64,
    ) -> Result<(), KnownHostsFailure> {
        if self.hosts.len() >= max_hosts {
            self.hosts.retain(|_, (_, known)| !known.is_expired(now));
        }
        let weak = self.hosts.values().filter(|(_, known)| !is_strong(known));
        let too_many = match is_strong(entry) {
            true => self.hosts.len() >= max_hosts,
            false => weak.count() >= max_hosts / 4 || self.hosts.len() >= max_hosts,
        };
        if too_many && !self.remove_oldest_weak() {
            return Err(KnownHostsFailure::Full(max_hosts));
        }
        Ok(())
    }

    fn remove_oldest_weak(&mut self) -> bool {
        let weak = self
            .hosts
            .iter()
            .filter(|(_, (_, known))| !is_strong(known));
        let oldest = weak.min_by_key(|(_, (_, known))| known.recorded);
        match oldest.map(|(key, _)| key.clone()) {
            Some(key) => self.hosts.remove(&key).is_some(),
            None => false,
        }
    }

    /// Parses a file. One invalid entry makes the file invalid: an entry that is dropped would
    /// weaken its host.
    pub(super) fn parse(text: &str) -> Result<Self, KnownHostsFailure> {
        let malformed = |error: serde_json::Error| KnownHostsFailure::Malformed(described(&error));
        let Version { version } = serde_json::from_str(text).map_err(malformed)?;
        if version > VERSION {
            return Err(KnownHostsFailure::NewerVersion(version));
        }
        let document: Document = serde_json::from_str(text).map_err(malformed)?;
        let invalid = |reason: String| Err(KnownHostsFailure::Malformed(reason));
        if document.hosts.len() > MAX_HOSTS {
            return invalid(format!("more than {MAX_HOSTS} entries"));
        }
        if document
            .clock
            .as_ref()
            .is_some_and(|clock| !clock.is_valid())
        {
            return invalid("the identifier of the boot is too long".to_owned());
        }
        let mut hosts = BTreeMap::new();
        for Line { host, entry } in document.hosts {
            let host = canonical(&host);
            if entry.keys.len() > MAX_KEYS {
                return invalid(format!("{host} has more than {MAX_KEYS} keys"));
            }
            let key = host.to_string();
            if hosts.insert(key, (host.clone(), entry)).is_some() {
                return invalid(format!("{host} has two entries"));
            }
        }
        Ok(Self {
            clock: document.clock,
            hosts,
        })
    }

    /// The text of a file, in the order of the hosts.
    pub(super) fn render(&self) -> serde_json::Result<String> {
        let line = |(host, entry): &(Endpoint, HostEntry)| Line {
            host: host.clone(),
            entry: entry.clone(),
        };
        let document = Document {
            version: VERSION,
            clock: self.clock.clone(),
            hosts: self.hosts.values().map(line).collect(),
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

/// The error, without a long part that it quotes, and without control characters: the file may be
/// another one, with a secret, and its author may want to control a terminal.
fn described(error: &serde_json::Error) -> String {
    let text = error.to_string().replace(char::is_control, "\u{fffd}");
    let start = text.find(['`', '"']).unwrap_or(text.len());
    let quoted = match text[start..].starts_with('"') {
        true => text[start..].rfind('"'),
        false => text[start..].match_indices('`').nth(1).map(|(at, _)| at),
    };
    let quoted = quoted.filter(|length| *length > MAX_QUOTED);
    quoted.map_or_else(
        || text.clone(),
        |length| {
            format!(
                "{}(not shown){}",
                &text[..start],
                &text[start + length + 1..]
            )
        },
    )
}

/// A file that is accepted comes back from its own text, whatever its text was.
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(contents) = Contents::parse(&text) {
        let rendered = contents.render().expect("a text");
        let again = Contents::parse(&rendered).expect("a file");
        assert_eq!(again, contents);
    }
}

#[cfg(test)]
mod tests;
