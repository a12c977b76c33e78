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
use super::{Inner, RedisSettings};
use crate::registry::fleet::{EngineError, EngineEvent, MachineId};

/// The first and the longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Commands that wait for their turn on the connection; more wait for a place, within the time
/// for an answer.
const QUEUE: usize = 1_024;

pub(super) struct Link {
    inner: Arc<Inner>,
    machine: MachineId,
    events: mpsc::Sender<EngineEvent>,
}

/// A connection, and the task that drives it until this is dropped.
struct Connection {
    commands: MultiplexedConnection,
    driver: JoinHandle<()>,
}

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

    /// Dials, logs in and subscribes.
    async fn open(&self) -> Result<Connection, EngineError> {
        let settings = &self.inner.settings;
        let io_error = |error: std::io::Error| EngineError::new(error.to_string());
        let address = &settings.address;
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await;
        let tcp = tcp.map_err(io_error)?;
        tcp.set_nodelay(true).map_err(io_error)?;
        let (mut commands, driver) = match &settings.tls {
            None => self.log_in(tcp).await?,
            Some(config) => {
                let name = ServerName::try_from(address.host.clone())
                    .map_err(|_| EngineError::new("its host is no name for TLS"))?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
                self.log_in(tls.await.map_err(io_error)?).await?
            }
        };
        let driver = tokio::spawn(driver);
        let channels = self.inner.keys.channels(self.machine);
        let subscribed = commands.subscribe(&channels).await;
        let connection = Connection { commands, driver };
        subscribed.map_err(|error| engine_error(&error))?;
        Ok(connection)
    }

    async fn log_in<IO>(
        &self,
        io: IO,
    ) -> Result<(MultiplexedConnection, BoxFuture<'static, ()>), EngineError>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_push_sender(Inbox(self.events.clone()));
        let info = connection_info(&self.inner.settings);
        let (commands, driver) = MultiplexedConnection::new_with_config(&info, io, config)
            .await
            .map_err(|error| engine_error(&error))?;
        Ok((commands, driver.boxed()))
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
        tokio::select! {
            _ = &mut connection.driver => {}
            () = broken => {}
        }
        self.report(EngineError::new(
            "the connection broke, or gave no answer in time",
        ));
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

fn connection_info(settings: &RedisSettings) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(settings.address.database)
        .set_skip_set_lib_name();
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
