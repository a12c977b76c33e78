//! The task that keeps an engine connected.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::RedisConnectionInfo;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::commands::engine_error;
use super::connection::{Connection, dial};
use super::sentinel::{Primary, Sentinels};
use super::settings::RedisLocation;
use super::{Inner, RedisSettings};
use crate::registry::fleet::{EngineError, EngineEvent, MachineId};

/// The first and the longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Keeps one engine connected.
pub(super) struct Link {
    inner: Arc<Inner>,
    machine: MachineId,
    events: mpsc::Sender<EngineEvent>,
}

/// A connection to a server, and the server's place if Sentinels named it.
struct Server {
    connection: Connection,
    primary: Option<Primary>,
}

const BROKEN: &str = "the connection broke, or gave no answer in time";

impl Link {
    pub(super) fn new(
        inner: Arc<Inner>,
        machine: MachineId,
        events: mpsc::Sender<EngineEvent>,
    ) -> Self {
        Self {
            inner,
            machine,
            events,
        }
    }

    /// Connects and reconnects until the receiver of events is gone.
    pub(super) async fn run(self) {
        let closed = self.events.clone();
        tokio::select! {
            () = self.keep_connected() => {}
            () = closed.closed() => {}
        }
        self.inner.lock().connection = None;
    }

    /// Connects, runs commands that answer with one text, and disconnects.
    pub(super) async fn check(&self, commands: redis::Pipeline) -> Result<String, EngineError> {
        let mut server = self.connect().await?;
        let limit = self.inner.settings.response_timeout;
        let answer = commands.query_async(&mut server.connection.commands);
        match timeout(limit, answer).await {
            Ok(Ok((text,))) => Ok(text),
            Ok(Err(error)) => Err(engine_error(&error)),
            Err(_) => Err(EngineError::new("no answer in time")),
        }
    }

    async fn keep_connected(&self) {
        let mut pause = PAUSES.0;
        loop {
            match self.connect().await {
                Ok(server) => {
                    let since = Instant::now();
                    self.serve(server).await;
                    // A replica or an overloaded engine breaks each connection at once.
                    if since.elapsed() > PAUSES.1 {
                        pause = PAUSES.0;
                    }
                }
                Err(error) => self.report(error),
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    async fn connect(&self) -> Result<Server, EngineError> {
        let limit = self.inner.settings.connect_timeout;
        let connect = timeout(limit, self.open());
        connect
            .await
            .unwrap_or_else(|_| Err(EngineError::new(format!("not connected within {limit:?}"))))
    }

    /// Finds the server, dials, logs in and subscribes.
    async fn open(&self) -> Result<Server, EngineError> {
        let settings = &self.inner.settings;
        let sentinels = Sentinels::of(settings);
        let primary = match &sentinels {
            Some(sentinels) => Some(sentinels.find_primary().await?),
            None => None,
        };
        let host = match (&settings.address.location, &primary) {
            (_, Some(primary)) => &primary.host,
            (RedisLocation::Server(host), None) => host,
            (RedisLocation::Sentinels { .. }, None) => return Err(EngineError::disconnected()),
        };
        let info = connection_info(settings);
        let mut connection = dial(settings, host, info, self.events.clone()).await?;
        if primary.is_some() {
            check_role(&mut connection).await?;
        }
        let channels = self.inner.keys.channels(self.machine);
        let subscribed = connection.commands.subscribe(&channels).await;
        subscribed.map_err(|error| engine_error(&error))?;
        Ok(Server {
            connection,
            primary,
        })
    }

    /// Offers the connection until it breaks.
    async fn serve(&self, server: Server) {
        let Server {
            mut connection,
            primary,
        } = server;
        {
            let mut state = self.inner.lock();
            state.connection = Some(connection.commands.clone());
            state.problem = None;
        }
        tracing::info!(engine = %self.inner.settings.address, "connected to the engine");
        // A failure of an earlier connection says nothing about this one.
        let _ = self.inner.broken.notified().now_or_never();
        let broken = self.inner.broken.notified();
        if self.events.send(EngineEvent::Connected).await.is_err() {
            return;
        }
        let replaced = async {
            match (Sentinels::of(&self.inner.settings), &primary) {
                (Some(sentinels), Some(primary)) => sentinels.watch(primary).await,
                _ => std::future::pending().await,
            }
        };
        self.report(EngineError::new(tokio::select! {
            _ = &mut connection.driver => BROKEN,
            () = broken => BROKEN,
            () = replaced => "a Sentinel names another primary",
        }));
    }

    fn report(&self, problem: EngineError) {
        let mut state = self.inner.lock();
        state.connection = None;
        if state.problem.as_ref() != Some(&problem) {
            let engine = &self.inner.settings.address;
            tracing::warn!(%engine, %problem, "no connection to the engine");
            state.problem = Some(problem);
        }
    }
}

/// A server that Sentinels have chosen may not know it yet.
async fn check_role(connection: &mut Connection) -> Result<(), EngineError> {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    let text = info.query_async::<String>(&mut connection.commands).await;
    let text = text.map_err(|error| engine_error(&error))?;
    match text.lines().any(|line| line.trim() == "role:master") {
        true => Ok(()),
        false => Err(EngineError::new(
            "the server that its Sentinels name is no primary",
        )),
    }
}

fn connection_info(settings: &RedisSettings) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_db(settings.address.database);
    if let Some(user) = &settings.address.user {
        info = info.set_username(user);
    }
    if let Some(password) = &settings.password {
        info = info.set_password(password.as_str());
    }
    info
}
