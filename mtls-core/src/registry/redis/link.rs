//! The task that keeps an engine connected.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Msg, ProtocolVersion, PushInfo, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::commands::engine_error;
use super::sentinel::Primary;
use super::settings::{RedisHost, RedisLocation};
use super::{Inner, RedisSettings};
use crate::registry::fleet::{EngineError, EngineEvent, MachineId};

/// The first and the longest pause between two attempts to connect.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Commands that wait for their turn on the connection; more wait for a place, within the time
/// for an answer.
const QUEUE: usize = 1_024;

pub(super) struct Link {
    inner: Arc<Inner>,
    machine: MachineId,
    events: mpsc::Sender<EngineEvent>,
}

/// A connection, and the task that drives it until this is dropped.
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    pub(super) driver: JoinHandle<()>,
    /// The server, if Sentinels named it.
    primary: Option<Primary>,
}

const BROKEN: &str = "the connection broke, or gave no answer in time";

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

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
        let mut connection = self.connect().await?;
        let limit = self.inner.settings.response_timeout;
        match timeout(limit, commands.query_async(&mut connection.commands)).await {
            Ok(Ok((text,))) => Ok(text),
            Ok(Err(error)) => Err(engine_error(&error)),
            Err(_) => Err(EngineError::new("no answer in time")),
        }
    }

    async fn keep_connected(&self) {
        let mut pause = PAUSES.0;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    let since = Instant::now();
                    self.serve(connection).await;
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

    async fn connect(&self) -> Result<Connection, EngineError> {
        let limit = self.inner.settings.connect_timeout;
        let connect = timeout(limit, self.open());
        connect
            .await
            .unwrap_or_else(|_| Err(EngineError::new(format!("not connected within {limit:?}"))))
    }

    /// Finds the server, dials, logs in and subscribes.
    async fn open(&self) -> Result<Connection, EngineError> {
        let primary = match self.location() {
            RedisLocation::Server(_) => None,
            RedisLocation::Sentinels { sentinels, primary } => {
                Some(self.find_primary(sentinels, primary).await?)
            }
        };
        let host = match (self.location(), &primary) {
            (RedisLocation::Server(host), _) => host,
            (_, Some(primary)) => &primary.host,
            (_, None) => return Err(EngineError::disconnected()),
        };
        let info = connection_info(&self.inner.settings);
        let mut connection = self.dial(host, info, self.events.clone()).await?;
        if primary.is_some() {
            check_role(&mut connection).await?;
        }
        connection.primary = primary;
        let channels = self.inner.keys.channels(self.machine);
        let subscribed = connection.commands.subscribe(&channels).await;
        subscribed.map_err(|error| engine_error(&error))?;
        Ok(connection)
    }

    pub(super) fn location(&self) -> &RedisLocation {
        &self.inner.settings.address.location
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.inner.settings.connect_timeout
    }

    /// Connects to a server, and logs in. Its messages go to `pushes`.
    pub(super) async fn dial(
        &self,
        host: &RedisHost,
        info: RedisConnectionInfo,
        pushes: mpsc::Sender<EngineEvent>,
    ) -> Result<Connection, EngineError> {
        let io_error = |error: std::io::Error| EngineError::new(error.to_string());
        let tcp = TcpStream::connect((host.host.as_str(), host.port)).await;
        let tcp = tcp.map_err(io_error)?;
        tcp.set_nodelay(true).map_err(io_error)?;
        let info = info
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        let (commands, driver) = match &self.inner.settings.tls {
            None => log_in(tcp, &info, pushes).await?,
            Some(config) => {
                let name = ServerName::try_from(host.host.clone())
                    .map_err(|_| EngineError::new("its host is no name for TLS"))?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
                log_in(tls.await.map_err(io_error)?, &info, pushes).await?
            }
        };
        Ok(Connection {
            commands,
            driver: tokio::spawn(driver),
            primary: None,
        })
    }

    /// Offers the connection until it breaks.
    async fn serve(&self, mut connection: Connection) {
        {
            let mut state = self.inner.lock();
            state.connection = Some(connection.commands.clone());
            state.problem = None;
        }
        tracing::info!(engine = %self.inner.settings.address, "connected to the engine");
        // What broke an earlier connection says nothing about this one.
        let _ = self.inner.broken.notified().now_or_never();
        let broken = self.inner.broken.notified();
        if self.events.send(EngineEvent::Connected).await.is_err() {
            return;
        }
        let replaced = async {
            match &connection.primary {
                Some(primary) => self.watch_sentinels(primary).await,
                None => std::future::pending().await,
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

async fn log_in<IO>(
    io: IO,
    info: &RedisConnectionInfo,
    pushes: mpsc::Sender<EngineEvent>,
) -> Result<(MultiplexedConnection, BoxFuture<'static, ()>), EngineError>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
        .set_push_sender(Inbox(pushes));
    let (commands, driver) = MultiplexedConnection::new_with_config(info, io, config)
        .await
        .map_err(|error| engine_error(&error))?;
    Ok((commands, driver.boxed()))
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

/// Takes what the engine sends by itself.
struct Inbox(mpsc::Sender<EngineEvent>);

impl AsyncPushSender for Inbox {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if let Some(message) = Msg::from_push_info(info) {
            // What is lost is asked for again.
            let _ = self
                .0
                .try_send(EngineEvent::Message(message.get_payload_bytes().to_vec()));
        }
        Ok(())
    }
}
