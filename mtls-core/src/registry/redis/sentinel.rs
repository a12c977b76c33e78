//! Sentinels: servers that watch a primary with its replicas, and name the current primary.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use redis::{RedisConnectionInfo, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::RedisSettings;
use super::commands::engine_error;
use super::connection::{Connection, dial};
use super::settings::{RedisHost, RedisLocation};
use crate::registry::fleet::{EngineError, EngineEvent};

/// The time that further Sentinels have to answer after the first.
const FURTHER_SENTINELS: Duration = Duration::from_millis(200);
/// The pause before a Sentinel whose connection broke is dialled again.
const PAUSE: Duration = Duration::from_secs(1);
/// Announcements of one Sentinel that wait; one is as good as many.
const ANNOUNCEMENTS: usize = 8;

/// A primary as a Sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) host: RedisHost,
    /// Of two Sentinels that disagree, the one with the later configuration is right.
    epoch: u64,
}

impl Primary {
    fn parse(fields: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            host: RedisHost {
                host: fields.get("ip")?.clone(),
                port: fields.get("port")?.parse().ok()?,
            },
            epoch: fields.get("config-epoch")?.parse().ok()?,
        })
    }

    /// Has this one taken the place of `other`?
    fn replaces(&self, other: &Self) -> bool {
        self.host != other.host && self.epoch > other.epoch
    }
}

/// The Sentinels of an address.
pub(super) struct Sentinels<'a> {
    settings: &'a RedisSettings,
    hosts: &'a [RedisHost],
    primary: &'a str,
}

impl<'a> Sentinels<'a> {
    /// `None` for an address without Sentinels.
    pub(super) fn of(settings: &'a RedisSettings) -> Option<Self> {
        match &settings.address.location {
            RedisLocation::Server(_) => None,
            RedisLocation::Sentinels { sentinels, primary } => Some(Self {
                settings,
                hosts: sentinels,
                primary,
            }),
        }
    }

    /// The primary that the latest configuration of all Sentinels names.
    pub(super) async fn find_primary(&self) -> Result<Primary, EngineError> {
        let asked = self.hosts.iter().map(|sentinel| async move {
            let (mut connection, _announcements) = self.dial(sentinel).await?;
            primary_at(&mut connection, self.primary).await
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut latest: Option<Primary> = None;
        let mut problem = EngineError::new("no Sentinel answered");
        let mut end = Instant::now() + self.settings.connect_timeout;
        while let Ok(Some(answer)) = timeout_at(end, asked.next()).await {
            match answer {
                Ok(primary) => {
                    end = end.min(Instant::now() + FURTHER_SENTINELS);
                    if latest.as_ref().is_none_or(|l| l.epoch < primary.epoch) {
                        latest = Some(primary);
                    }
                }
                Err(error) => problem = error,
            }
        }
        latest.ok_or(problem)
    }

    /// Completes when a Sentinel names another primary than this one.
    pub(super) async fn watch(&self, current: &Primary) {
        let watched = self
            .hosts
            .iter()
            .map(|sentinel| Box::pin(self.watch_one(sentinel, current)));
        select_all(watched).await;
    }

    async fn watch_one(&self, sentinel: &RedisHost, current: &Primary) {
        while self.watch_once(sentinel, current).await.is_err() {
            sleep(PAUSE).await;
        }
    }

    /// Asks at first and after each announcement; fails when the connection breaks.
    async fn watch_once(&self, sentinel: &RedisHost, current: &Primary) -> Result<(), EngineError> {
        let (mut connection, mut announcements) = self.within(self.dial(sentinel)).await?;
        let subscribed = async {
            let subscribed = connection.commands.subscribe("+switch-master").await;
            subscribed.map_err(|error| engine_error(&error))
        };
        self.within(subscribed).await?;
        loop {
            let named = primary_at(&mut connection, self.primary);
            if self.within(named).await?.replaces(current) {
                return Ok(());
            }
            tokio::select! {
                _ = announcements.recv() => {}
                _ = &mut connection.driver => return Err(EngineError::disconnected()),
            }
        }
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let waited = timeout(self.settings.connect_timeout, answer).await;
        waited.unwrap_or_else(|_| Err(EngineError::new("no answer in time")))
    }

    /// Without a login: the user of the address is one of the servers.
    async fn dial(
        &self,
        sentinel: &RedisHost,
    ) -> Result<(Connection, mpsc::Receiver<EngineEvent>), EngineError> {
        let (sender, announcements) = mpsc::channel(ANNOUNCEMENTS);
        let info = RedisConnectionInfo::default();
        let connection = dial(self.settings, sentinel, info, sender).await?;
        Ok((connection, announcements))
    }
}

async fn primary_at(connection: &mut Connection, name: &str) -> Result<Primary, EngineError> {
    let mut command = cmd("SENTINEL");
    command.arg("MASTER").arg(name);
    let fields = command.query_async(&mut connection.commands).await;
    let fields: HashMap<String, String> = fields.map_err(|error| engine_error(&error))?;
    Primary::parse(&fields).ok_or_else(|| EngineError::new("its Sentinel names no primary"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(port: u16, epoch: &str) -> Option<Primary> {
        let port = port.to_string();
        let fields = [
            ("ip", "192.0.2.1"),
            ("port", &port),
            ("config-epoch", epoch),
        ];
        let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Primary::parse(&HashMap::from(owned))
    }

    #[test]
    fn a_primary_of_a_later_configuration_replaces_another() {
        let current = primary(1, "3").expect("a primary");
        for (port, epoch, expected) in [
            (2, "4", true),
            (2, "3", false),
            (2, "2", false),
            (1, "4", false),
        ] {
            let named = primary(port, epoch).expect("a primary");
            assert_eq!(named.replaces(&current), expected, "{named:?}");
        }
    }

    #[test]
    fn an_answer_without_a_primary_is_refused() {
        assert_eq!(primary(1, ""), None);
        assert_eq!(Primary::parse(&HashMap::new()), None);
    }
}
