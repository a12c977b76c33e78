//! The hello tap and the exporter against real TLS stacks: rustls in memory; curl and OpenSSL
//! over loopback where they are installed.

mod capture;
mod chromium;
mod exporter;
mod hello;
mod pair;
mod tools;
