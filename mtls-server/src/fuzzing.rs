//! Checks of private parsers with arbitrary bytes, for the fuzz targets and for tests. Each one panics
//! where a property does not hold.

/// The configuration file.
pub fn configuration(data: &[u8]) {
    crate::cli::fuzz_configuration(data);
}

/// The header of the PROXY protocol, of a load balancer's connection.
pub fn proxy_header(data: &[u8]) {
    crate::service::fuzz_proxy_header(data);
}

/// The fields of a request that `terminate` forwards.
pub fn forwarded_fields(data: &[u8]) {
    crate::web::fuzz_forwarded_fields(data);
}

#[cfg(test)]
mod tests;
