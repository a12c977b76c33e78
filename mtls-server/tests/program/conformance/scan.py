"""Scans this server and a plain tokio-rustls server with sslyze, and compares the results.

Arguments: the address of each, such as 127.0.0.1:8443. Needs sslyze (PyPI). The exit status is 77 without
it, 1 if a result differs.
"""

import json
import sys

try:
    from sslyze import (
        Scanner,
        ServerNetworkConfiguration,
        ServerNetworkLocation,
        ServerScanRequest,
        ServerScanResultAsJson,
        ScanCommand,
    )
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

# The fields of HTTP are not those of TLS.
COMMANDS = set(ScanCommand) - {ScanCommand.HTTP_HEADERS}

# The public keys of one connection each.
EPHEMERAL = (".ephemeral_key.public_bytes", ".ephemeral_key.x", ".ephemeral_key.y")


def main(ours, plain):
    one, other = scan(ours), scan(plain)
    different = sorted(name for name in one | other if one.get(name) != other.get(name))
    for name in different:
        print(f"different: {name}\n    this server:  {one.get(name)}\n    plain server: {other.get(name)}")
    print(f"{len(one)} results, {len(different)} differences")
    return 1 if different else 0


def scan(address):
    host, _, port = address.rpartition(":")
    scanner = Scanner()
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation(hostname="localhost", ip_address=host, port=int(port)),
                network_configuration=ServerNetworkConfiguration(
                    tls_server_name_indication="localhost", network_timeout=20
                ),
                scan_commands=COMMANDS,
            )
        ]
    )
    (result,) = scanner.get_results()
    flat = json.loads(ServerScanResultAsJson.model_validate(result).model_dump_json())
    found = dict(leaves("", flat["scan_result"]), connectivity=flat["connectivity_status"])
    return {name: value for name, value in found.items() if not name.endswith(EPHEMERAL)}


def leaves(path, value):
    """Each value of a document by its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(f"{path}.{name}", inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(f"{path}[{number}]", inner)
    else:
        yield path, value


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
