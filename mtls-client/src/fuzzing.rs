//! Checks of private parsers with arbitrary bytes, for the fuzz targets and for tests. Each one panics
//! where a property does not hold.

/// The first request of a client of the proxy: HTTP CONNECT, SOCKS4 or SOCKS5.
pub fn proxy_request(data: &[u8]) {
    crate::commands::proxy::request::fuzzing::fuzz(data);
}

#[cfg(test)]
mod tests;
