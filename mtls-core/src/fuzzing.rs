//! Checks of private parsers and machines with arbitrary bytes, for the fuzz targets and for tests. Each
//! one panics where a property does not hold.

/// Operations of a registry in memory, against a model.
pub fn registry(data: &[u8]) {
    crate::registry::model::fuzz(data);
}

/// The procedure of verification by resumption.
pub fn resumption(data: &[u8]) {
    crate::resumption::fuzz(data);
}

/// The answers of a SOCKS5 proxy.
pub fn socks5_answer(data: &[u8]) {
    crate::path::fuzzing::fuzz_socks5(data);
}

/// The answer of an HTTP proxy to CONNECT.
pub fn http_connect_answer(data: &[u8]) {
    crate::path::fuzzing::fuzz_http_connect(data);
}

/// The file of known hosts.
pub fn known_hosts_file(data: &[u8]) {
    crate::known_hosts::fuzz(data);
}

/// The frames of a stream of HTTP/3.
#[cfg(feature = "http3")]
pub fn http3_frames(data: &[u8]) {
    crate::http_io::fuzz(data);
}

#[cfg(test)]
mod tests;
