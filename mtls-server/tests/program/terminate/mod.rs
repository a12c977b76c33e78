//! `terminate` in front of web servers of every kind that it can reach.

pub(crate) mod backend;
mod departures;
mod failures;
mod fields;
mod frames;
mod grpc;
mod health;
mod limits;
mod responses;
mod retries;
mod streams;
mod target;
mod targets;
mod uploads;
mod websocket;

use std::process::Command;

use crate::common::{Running, Site, binary, curl, text};

impl Site {
    /// `terminate` with the certificates of the site, and what is in `more`.
    fn terminate_command(&self, target: &str, more: &[&str]) -> Command {
        let mut command = binary();
        command.args(["terminate", "--listen", "127.0.0.1:0", "--target", target]);
        command.arg("--cert").arg(self.pem("server.pem"));
        command.arg("--key").arg(self.pem("server.key"));
        command.args(more).env("NO_COLOR", "1");
        command
    }

    pub(crate) fn terminate(&self, target: &str, more: &[&str]) -> Running {
        Running::start(self.terminate_command(target, more))
    }

    /// Head and body of what curl got; `None` where it is not installed.
    fn fetch(&self, server: &Running, path: &str, options: &[&str]) -> Option<(String, String)> {
        let url = server.url(path);
        let all = [options, &["--path-as-is", &url]].concat();
        let output = text(&curl(&self.pem("ca.pem"), &all)?.stdout);
        let (head, body) = output.split_once("\r\n\r\n").unwrap_or((&output, ""));
        Some((head.to_owned(), body.to_owned()))
    }
}

/// The value of a field at the target, once.
fn field_of<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let mut values = body
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(field, _)| *field == name)
        .map(|(_, value)| value);
    let value = values.next();
    assert_eq!(values.next(), None, "{name} stands there once: {body}");
    value
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}
