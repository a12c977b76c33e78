"""Resumption, and TLS 1.2."""

from conversation import *

# Resumption


def resumed(name, change=lambda hello: None, binder=lambda binder: binder, uses=1, early=b"", modes=b"\1"):
    @case(f"resumption: {name}")
    def converse(client):
        client.connect().encrypted(APPLICATION_DATA, client.get())
        client.rest()
        if not client.tickets:
            return ["no ticket"]
        events = []
        for _ in range(uses):
            second = Client(client.address)
            resume(second, client, change, binder, early, modes)
            events += ["resumed", *second.rest()]
        return events


def resume(second, first, change, binder, early, modes):
    lifetime, age_add, nonce, ticket = parse_ticket(first.tickets[0])
    size = len(first.resumption)
    name = digest(first.suite)
    psk = HKDF_expand_label(first.resumption, b"resumption", nonce, size, name)
    second.suite = first.suite
    second.early_secret = secureHMAC(bytearray(size), psk, name)
    hello = Hello()
    hello.extensions[PSK_MODES] = vector(1, modes)
    if early:
        hello.extensions[EARLY_DATA] = b""
    change(hello)
    identity = vector(2, vector(2, ticket) + age_add)
    hello.more.append((PRE_SHARED_KEY, identity + vector(2, vector(1, bytes(size)))))
    encoded = hello.encode()
    truncated = encoded[: -(3 + size)]
    key = second.derive(second.early_secret, b"res binder", b"")
    finished = HKDF_expand_label(key, b"finished", b"", size, name)
    value = bytes(secureHMAC(finished, secureHash(bytearray(truncated), name), name))
    encoded = encoded[:-size] + binder(value)
    second.note_hello(hello, encoded)
    second.record(HANDSHAKE, encoded, 0x0301)
    if early:
        second.record(20, b"\1")
        keys = Keys(second.derive(second.early_secret, b"c e traffic", encoded), second.suite)
        second.raw(second.seal(23, early, keys=keys))
    second.read_until(lambda: second.finished or second.retried)
    if second.finished and second.writer:
        second.complete().encrypted(APPLICATION_DATA, second.get())


def parse_ticket(body):
    nonce = body[9 : 9 + body[8]]
    at = 9 + body[8]
    length = int.from_bytes(body[at : at + 2], "big")
    return body[:4], body[4:8], nonce, body[at + 2 : at + 2 + length]


resumed("once")
resumed("the same ticket twice", uses=2)
resumed("another server name", put(SERVER_NAME, vector(2, b"\0" + vector(2, b"other.example"))))
resumed("no server name", drop(SERVER_NAME))
resumed("another ALPN", put(ALPN, vector(2, vector(1, b"h2"))))
resumed("another suite of the same hash", field("suites", numbers([CHACHA])))
resumed("a suite of another hash", field("suites", numbers([AES_256])))
resumed("a wrong binder", binder=lambda value: bytes([value[0] ^ 1]) + value[1:])
resumed("a binder of zeros", binder=lambda value: bytes(len(value)))
resumed("without a key exchange", modes=b"\0")
resumed("either mode", modes=b"\0\1")
resumed("with a retry", lambda hello: hello.extensions.__setitem__(KEY_SHARE, vector(2, b"")))
resumed("early data", early=b"GET / HTTP/1.1\r\n\r\n")
resumed("much early data", early=bytes(16000))


# TLS 1.2: the server's first flight, and its answers to a wrong second one


def old(suites=(0xC02B, 0xC02C, 0xCCA9, 0xC02F, 0x00FF), extensions=()):
    hello = Hello(suites=suites, shares=())
    for kind in (VERSIONS, KEY_SHARE, PSK_MODES):
        del hello.extensions[kind]
    hello.extensions[23] = b""
    hello.extensions[11] = b"\1\0"
    hello.extensions[0xFF01] = b"\0"
    hello.extensions.update(extensions)
    return hello


def old_case(name, hello, *records):
    @case(f"TLS 1.2: {name}")
    def converse(client):
        client.send_hello(hello())
        client.read_until(lambda: any("ServerHelloDone" in event for event in client.events))
        for record in records:
            client.raw(record)


old_case("first flight", old)
for suite in (0xC02B, 0xC02C, 0xCCA9, 0xC02F, 0xC009, 0xC023, 0x009C, 0x002F, 0x0005):
    old_case(f"suite {suite:04x}", lambda suite=suite: old((suite,)))
old_case("without extended master secret", lambda: (hello := old(), hello.extensions.pop(23))[0])
old_case("without renegotiation info", lambda: (hello := old((0xC02B,)), hello.extensions.pop(0xFF01))[0])
old_case("fallback SCSV", lambda: old((0xC02B, 0x5600)))
old_case("session ticket", lambda: old(extensions={35: b""}))
old_case("status request", lambda: old(extensions={5: b"\1\0\0\0\0"}))
old_case("next protocol", lambda: old(extensions={13172: b""}))
old_case("encrypt then MAC", lambda: old(extensions={22: b""}))
old_case("no groups", lambda: (hello := old(), hello.extensions.pop(GROUPS))[0])
old_case("no signature algorithms", lambda: (hello := old(), hello.extensions.pop(SIGNATURE_ALGORITHMS))[0])
old_case("no extensions", lambda: (hello := old(), hello.extensions.clear())[0])
old_case("version 1.1", lambda: (hello := old(), setattr(hello, "version", 0x0302))[0])
old_case("ClientKeyExchange not on the curve", old, plain(22, message(16, vector(1, b"\4" + bytes(64))), 0x0303))
old_case("ClientKeyExchange of zeros", old, plain(22, message(16, vector(1, bytes(32))), 0x0303))
old_case("empty ClientKeyExchange", old, plain(22, message(16, b""), 0x0303))
old_case(
    "ClientKeyExchange with a byte too many",
    old,
    plain(22, message(16, vector(1, KeyShare(X25519).public) + b"\0"), 0x0303),
)
old_case("CCS first", old, plain(20, b"\1", 0x0303))
old_case("Finished first", old, plain(22, message(20, bytes(12)), 0x0303))
old_case("Certificate", old, plain(22, message(11, bytes(3)), 0x0303))
old_case(
    "a wrong Finished",
    old,
    plain(22, message(16, vector(1, KeyShare(X25519).public)), 0x0303),
    plain(20, b"\1", 0x0303),
    plain(22, bytes(40), 0x0303),
)
old_case(
    "Finished in the clear",
    old,
    plain(22, message(16, vector(1, KeyShare(X25519).public)), 0x0303),
    plain(22, message(20, bytes(12)), 0x0303),
)
old_case(
    "two CCS",
    old,
    plain(22, message(16, vector(1, KeyShare(X25519).public)), 0x0303),
    plain(20, b"\1", 0x0303),
    plain(20, b"\1", 0x0303),
)
old_case("application data", old, plain(23, b"GET", 0x0303))
old_case("heartbeat", old, plain(24, b"\1\x40\0", 0x0303))
old_case("hello again", old, plain(22, Hello().encode(), 0x0303))
old_case("close_notify", old, plain(21, b"\1\0", 0x0303))
old_case("fatal alert", old, plain(21, b"\2\x28", 0x0303))
