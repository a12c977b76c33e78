//! SOCKS5, the client's side (RFC 1928; user name and password: RFC 1929).

use core::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::credentials::Credentials;
use super::endpoint::{Endpoint, Host};
use super::error::ProxyRefusal;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0x00;
const USER_AND_PASSWORD: u8 = 0x02;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a connection to `target`. Reads the proxy's answers and not a byte more.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Endpoint,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyRefusal> {
    authenticate(stream, credentials).await?;
    stream.write_all(&request(target)).await?;
    read_reply(stream).await
}

/// RFC 1928, section 3.
async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: Option<&Credentials>,
) -> Result<(), ProxyRefusal> {
    let greeting: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
        None => &[VERSION, 1, NO_AUTHENTICATION],
    };
    stream.write_all(greeting).await?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).await?;
    match (choice, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => Ok(()),
        ([VERSION, USER_AND_PASSWORD], Some(credentials)) => {
            send_credentials(stream, credentials).await
        }
        ([VERSION, NO_ACCEPTABLE_METHOD], _) => Err(ProxyRefusal::NoMethod {
            with_credentials: credentials.is_some(),
        }),
        ([VERSION, _], _) => Err(ProxyRefusal::Malformed("a method that was not offered")),
        _ => Err(ProxyRefusal::Malformed("not SOCKS version 5")),
    }
}

/// RFC 1929, section 2.
async fn send_credentials<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: &Credentials,
) -> Result<(), ProxyRefusal> {
    stream.write_all(&credentials.socks5_request()).await?;
    let mut status = [0; 2];
    stream.read_exact(&mut status).await?;
    match status {
        [1, 0] => Ok(()),
        [1, _] => Err(ProxyRefusal::Credentials),
        _ => Err(ProxyRefusal::Malformed(
            "not version 1 of its authentication",
        )),
    }
}

/// RFC 1928, section 4.
fn request(target: &Endpoint) -> Vec<u8> {
    let mut out = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::Ip(address) => match address.ip() {
            IpAddr::V4(ip) => {
                out.push(IPV4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(IPV6);
                out.extend_from_slice(&ip.octets());
            }
        },
        Host::Name(name) => {
            out.push(NAME);
            // `HostName` bounds it below 255, a final dot included.
            out.push(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.as_str().as_bytes());
        }
    }
    out.extend_from_slice(&target.port.to_be_bytes());
    out
}

/// RFC 1928, section 6. The address in the reply is the proxy's own: read, not used.
async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), ProxyRefusal> {
    let mut version_and_code = [0; 2];
    stream.read_exact(&mut version_and_code).await?;
    match version_and_code {
        [VERSION, 0] => {}
        // Nothing after it matters, and some proxies send nothing.
        [VERSION, code] => return Err(ProxyRefusal::Socks5Reply(code)),
        _ => return Err(ProxyRefusal::Malformed("not SOCKS version 5")),
    }
    let mut reserved_and_type = [0; 2];
    stream.read_exact(&mut reserved_and_type).await?;
    let address_len = match reserved_and_type {
        [0, IPV4] => 4,
        [0, IPV6] => 16,
        [0, NAME] => usize::from(stream.read_u8().await?),
        [0, _] => return Err(ProxyRefusal::Malformed("an unknown type of address")),
        _ => return Err(ProxyRefusal::Malformed("a reserved byte that is not zero")),
    };
    let mut address_and_port = [0; u8::MAX as usize + 2];
    stream
        .read_exact(&mut address_and_port[..address_len + 2])
        .await?;
    Ok(())
}
