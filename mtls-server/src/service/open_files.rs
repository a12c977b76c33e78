//! How many sockets this process may have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For everything beside the connections.
const RESERVE: u64 = 256;

/// Raises the soft limit of open files towards what so many connections need, as far as the system
/// lets an ordinary user. Logs a warning, with the option that sets their number, where that is not
/// enough. Each connection needs `each` sockets.
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
