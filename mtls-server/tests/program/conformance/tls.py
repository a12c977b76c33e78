"""TLS conformance as a difference: conversations with this server and with a plain tokio-rustls server.

Arguments: the address of each, such as 127.0.0.1:8443. Needs tlslite-ng (PyPI). The exit status is 77
without it, 1 if any outcome differs. Most conversations are those of tlsfuzzer's scripts for TLS 1.3.
"""

import sys

try:
    import tls13
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

import hellos
import records
import sessions
from compare import address, compare
from conversation import CASES



def not_tls(name, one, other):
    """A connection that does not begin with the first byte of a TLS handshake is closed without an alert
    (docs/design.md, "Why does the first byte decide?")."""
    return one == ["end"] and other in (["alert 0232", "end"], ["alert 020a", "end"])


def close_notify(name, one, other):
    """After an error in a record of the client, or in its HTTP, this server sends what waits and a close_notify;
    hyper drops the connection."""
    return without_end(one) == without_end(other) and other[-2:-1] != ["alert 0100"]


def without_end(events):
    return [event for event in events if event not in ("alert 0100", "0303 KeyUpdate of 1 bytes")]


if __name__ == "__main__":
    sys.exit(compare(CASES, address(sys.argv[1]), address(sys.argv[2]), [not_tls, close_notify]))
