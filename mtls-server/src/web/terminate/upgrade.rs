//! WebSockets through to the target.

use std::io;

use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;

use super::TerminateBody;
use super::fields::{to_client, wants_websocket};
use crate::web::Takeover;

/// The client's end of a WebSocket.
pub(super) struct Upgrade {
    client: OnUpgrade,
    takeover: Takeover,
}

impl Upgrade {
    /// `None` if the client requests no WebSocket.
    pub(super) fn take(parts: &mut Parts) -> Option<Self> {
        let client = parts.extensions.remove::<OnUpgrade>()?;
        let takeover = parts.extensions.remove::<Takeover>()?;
        wants_websocket(parts).then_some(Self { client, takeover })
    }

    /// Connects both ends with a tunnel.
    pub(super) fn switch(
        self,
        mut response: Response<Incoming>,
        slot: OwnedSemaphorePermit,
    ) -> Response<TerminateBody> {
        let (client, target) = (self.client, hyper::upgrade::on(&mut response));
        self.takeover.run(async move {
            let _slot = slot;
            if let Err(error) = tunnel(client, target).await {
                tracing::debug!(%error, "a WebSocket failed");
            }
        });
        let (mut parts, _) = response.into_parts();
        to_client(&mut parts.headers, true);
        parts.version = Version::default();
        parts.extensions.clear();
        Response::from_parts(parts, Either::Left(Full::default()))
    }
}

async fn tunnel(client: OnUpgrade, target: OnUpgrade) -> io::Result<()> {
    let ends = tokio::try_join!(client, target);
    let (client, target) = ends.map_err(io::Error::other)?;
    let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
    copy_bidirectional(&mut client, &mut target).await?;
    Ok(())
}
