//! Every exchange of a client and a server in virtual time, cut after each byte: the connection
//! closes, nothing arrives any more, or the rest arrives after the deadline.
//!
//! The expected conclusions of both ends, with the reason and the exact time, are functions of the
//! position. `MTLS_LAB_EVERY_BYTE=1` cuts after every byte under every policy; without it some
//! positions within a part are skipped, where each one of the part has the same result.

mod exchange;
mod month;
mod primary;
mod side;
mod wire;
