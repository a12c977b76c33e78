//! The program, run as a process against servers and attackers on the loopback.

mod attacks;
mod checks;
mod compressed;
mod connect;
mod curl;
#[path = "../../../mtls-core/tests/pem/damage.rs"]
mod damage;
mod endings;
mod evidence;
mod exits;
mod get;
mod http;
mod http3;
mod identity;
mod keys;
mod known_hosts;
mod lab;
mod names;
mod paths;
mod proxy;
mod reference;
mod request_options;
mod requests;
mod resumption;
mod site;
mod smkex;
mod streams;
mod terminal;
mod verdicts;
mod watch;
mod ways;
mod write_out;
