//! Sentinels: servers that watch a primary with its replicas, and name the current primary.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use redis::{RedisConnectionInfo, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::commands::engine_error;
use super::link::{Connection, Link, PAUSES};
use super::settings::{RedisHost, RedisLocation};
use crate::registry::fleet::EngineError;

/// The time that further sentinels have to answer after the first.
const FURTHER_SENTINELS: Duration = Duration::from_millis(200);
/// Announcements of one sentinel that wait; one is as good as many.
const ANNOUNCEMENTS: usize = 8;

/// A primary as a sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) host: RedisHost,
    /// Of two sentinels that disagree, the one with the later configuration is right.
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

impl Link {
    /// The primary that the latest configuration of the sentinels names.
    pub(super) async fn find_primary(
        &self,
        sentinels: &[RedisHost],
        name: &str,
    ) -> Result<Primary, EngineError> {
        let asked = sentinels.iter().map(|sentinel| async move {
            let (mut connection, _announcements) = self.dial_sentinel(sentinel).await?;
            primary_at(&mut connection, name).await
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut latest: Option<Primary> = None;
        let mut problem = EngineError::new("no sentinel answered");
        let mut end = Instant::now() + self.connect_timeout();
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

    /// Completes when a sentinel names another primary than this one.
    pub(super) async fn watch_sentinels(&self, current: &Primary) {
        let RedisLocation::Sentinels { sentinels, primary } = self.location() else {
            return std::future::pending().await;
        };
        let watched = sentinels
            .iter()
            .map(|sentinel| Box::pin(self.watch_sentinel(sentinel, primary, current)));
        select_all(watched).await;
    }

    async fn watch_sentinel(&self, sentinel: &RedisHost, name: &str, current: &Primary) {
        while self.watch_once(sentinel, name, current).await.is_err() {
            sleep(PAUSES.1).await;
        }
    }

    /// Asks at first and after each announcement; fails when the connection breaks.
    async fn watch_once(
        &self,
        sentinel: &RedisHost,
        name: &str,
        current: &Primary,
    ) -> Result<(), EngineError> {
        let limit = self.connect_timeout();
        let no_answer = |_| EngineError::new("no answer in time");
        let dialed = timeout(limit, self.dial_sentinel(sentinel)).await;
        let (mut connection, mut announcements) = dialed.map_err(no_answer)??;
        let subscribed = connection.commands.subscribe("+switch-master");
        let subscribed = timeout(limit, subscribed).await.map_err(no_answer)?;
        subscribed.map_err(|error| engine_error(&error))?;
        loop {
            let named = timeout(limit, primary_at(&mut connection, name)).await;
            if named.map_err(no_answer)??.replaces(current) {
                return Ok(());
            }
            tokio::select! {
                _ = announcements.recv() => {}
                _ = &mut connection.driver => return Err(EngineError::disconnected()),
            }
        }
    }

    /// Without a login: the user of the fleet is one of the servers.
    async fn dial_sentinel(
        &self,
        sentinel: &RedisHost,
    ) -> Result<(Connection, mpsc::Receiver<super::EngineEvent>), EngineError> {
        let (sender, announcements) = mpsc::channel(ANNOUNCEMENTS);
        let connection = self.dial(sentinel, RedisConnectionInfo::default(), sender);
        Ok((connection.await?, announcements))
    }
}

async fn primary_at(connection: &mut Connection, name: &str) -> Result<Primary, EngineError> {
    let mut command = cmd("SENTINEL");
    command.arg("MASTER").arg(name);
    let fields = command.query_async(&mut connection.commands).await;
    let fields: HashMap<String, String> = fields.map_err(|error| engine_error(&error))?;
    Primary::parse(&fields).ok_or_else(|| EngineError::new("its sentinel names no primary"))
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
