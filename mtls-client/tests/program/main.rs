//! The program, run as a process against servers and attackers on the loopback.

mod attacks;
mod connect;
mod exits;
mod get;
mod lab;
mod paths;
mod site;
mod verdicts;
