//! One connection to a server or a Sentinel.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Msg, ProtocolVersion, PushInfo, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::RedisSettings;
use super::commands::engine_error;
use super::settings::RedisHost;
use crate::registry::fleet::{EngineError, EngineEvent};

/// Commands that wait for their turn on the connection; more wait for a place, within the time
/// for an answer.
const QUEUE: usize = 1_024;

/// A connection, and the task that drives it until this is dropped.
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    pub(super) driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects to a server, and logs in. Its messages go to `pushes`.
pub(super) async fn dial(
    settings: &RedisSettings,
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
    let (commands, driver) = match &settings.tls {
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
    })
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

/// Takes what the engine sends by itself.
struct Inbox(mpsc::Sender<EngineEvent>);

impl AsyncPushSender for Inbox {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if let Some(message) = Msg::from_push_info(info) {
            // The lookup of a lost message is repeated.
            let _ = self
                .0
                .try_send(EngineEvent::Message(message.get_payload_bytes().to_vec()));
        }
        Ok(())
    }
}
