//! Names to addresses: the system's resolver on an unbound path, DNS over the path on a bound one.

use core::net::{IpAddr, SocketAddr};

#[cfg(feature = "dns")]
use super::dns;
use super::endpoint::HostName;
use super::error::DialFailure;
use super::socket::SocketBinding;

/// The addresses of a name, at least one. Without nameservers, those of the system are asked.
pub(super) async fn look_up(
    binding: &SocketBinding,
    nameservers: &[SocketAddr],
    name: &HostName,
) -> Result<Vec<IpAddr>, DialFailure> {
    let unbound = *binding == SocketBinding::None && nameservers.is_empty();
    let (resolver, result) = match unbound {
        true => ("asked the system's resolver".into(), by_system(name).await),
        false => dns::look_up(binding, nameservers, name).await,
    };
    let failed = |reason| DialFailure::Resolve {
        name: name.as_str().into(),
        resolver,
        reason,
    };
    match (result, binding) {
        (Ok(addresses), &SocketBinding::Source(source)) if addresses.is_empty() => {
            Err(DialFailure::NoUsableAddress {
                host: name.as_str().into(),
                source,
            })
        }
        (Ok(addresses), _) if addresses.is_empty() => Err(failed("it has no address".into())),
        (Ok(addresses), _) => Ok(addresses),
        (Err(reason), _) => Err(failed(reason)),
    }
}

async fn by_system(name: &HostName) -> Result<Vec<IpAddr>, String> {
    match tokio::net::lookup_host((name.as_str(), 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(not(feature = "dns"))]
mod dns {
    use super::{HostName, IpAddr, SocketAddr, SocketBinding};

    pub(super) async fn look_up(
        _: &SocketBinding,
        _: &[SocketAddr],
        _: &HostName,
    ) -> (String, Result<Vec<IpAddr>, String>) {
        let reason = "this program resolves no names over a bound path; give an address, or build \
                      mtls-core with its feature `dns`";
        ("asked no resolver".into(), Err(reason.into()))
    }
}
