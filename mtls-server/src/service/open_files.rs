//! The limit of open files.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that are not connections.
const RESERVE: u64 = 256;

/// Raises the soft limit of open files for this number of connections with `each` sockets, as far as
/// the hard limit permits. Logs a warning that names the option with their number if that is not
/// enough.
pub(crate) fn allow(connections: usize, each: u64, option: &str) {
    let needed = (connections as u64)
        .saturating_mul(each)
        .saturating_add(RESERVE);
    let mut limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return;
    };
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    limit.current = Some(raised);
    let allowed = match raised > current && setrlimit(Resource::Nofile, limit).is_ok() {
        true => raised,
        false => current,
    };
    if allowed < needed {
        tracing::warn!(
            "the system allows {allowed} open files, which is enough for about {} connections; \
             raise the limit (ulimit -n, or LimitNOFILE= in a systemd unit) or lower {option}",
            allowed.saturating_sub(RESERVE) / each
        );
    }
}
