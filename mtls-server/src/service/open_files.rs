//! How many sockets this process may have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For everything beside the connections.
const RESERVE: u64 = 256;

/// Raises the soft limit of open files towards what so many sockets need, as far as the system
/// lets an ordinary user; says so in the log where that is not enough.
pub(crate) fn allow(sockets: usize) {
    let needed = (sockets as u64).saturating_add(RESERVE);
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
             raise the limit (ulimit -n, or LimitNOFILE= in a systemd unit) or lower --max-tunnels",
            allowed.saturating_sub(RESERVE) / 2
        );
    }
}
