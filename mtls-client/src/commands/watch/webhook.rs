//! Webhooks: an HTTP POST for each change.

use std::fmt;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

/// The URL of a webhook.
#[derive(Clone)]
pub(crate) struct WebhookUrl(Url);

/// A receiver of HTTP requests.
pub(super) struct Webhook {
    pub(super) url: WebhookUrl,
    pub(super) tls: Arc<ClientConfig>,
}

/// The URL may contain a token.
impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(..)")
    }
}

/// The URL may contain a token, so errors do not repeat it.
impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("expected an http or https URL".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password is not sent; put a token into the path".into());
        }
        Ok(Self(url))
    }
}

impl Webhook {
    /// Sends one change.
    ///
    /// # Errors
    /// The cause, if the receiver did not take it with a status of 2xx.
    pub(super) async fn send(&self, json: String) -> Result<(), String> {
        let WebhookUrl(url) = &self.url;
        let host = url.host_str().unwrap_or_default().to_owned();
        let address = host.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let tcp = TcpStream::connect((address.as_str(), port)).await;
        let tcp = tcp.map_err(|error| format!("could not connect: {error}"))?;
        if url.scheme() == "http" {
            return self.post(tcp, json).await;
        }
        let name = ServerName::try_from(address).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(name, tcp).await;
        self.post(tls.map_err(|error| error.to_string())?, json)
            .await
    }

    async fn post<S>(&self, stream: S, json: String) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let WebhookUrl(url) = &self.url;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("mtls-client/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let exchange = pin!(sender.send_request(request));
        // The connection ends with the exchange, whose response body is not needed.
        let response = match select(exchange, pin!(connection)).await {
            Either::Left((response, _)) => response,
            // It may have ended after the response.
            Either::Right((_, exchange)) => exchange.await,
        };
        let response = response.map_err(|error| error.to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!(
                "the receiver returned HTTP status {}",
                response.status()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_url_is_not_printed() {
        let url: WebhookUrl = "https://a.test/path-token?query-token".parse().unwrap();
        assert!(!format!("{url:#?}").contains("token"));
    }

    #[test]
    fn urls_are_http_and_have_no_password() {
        for text in ["http://a.test:1/x?y", "https://[::1]/"] {
            assert!(text.parse::<WebhookUrl>().is_ok(), "{text}");
        }
        for text in [
            "ftp://a.test/",
            "a.test",
            "http://u:secret@a.test/",
            "unix:/x",
        ] {
            let error = text.parse::<WebhookUrl>().map(drop).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
