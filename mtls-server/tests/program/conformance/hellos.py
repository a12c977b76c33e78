"""Conversations that begin with an unusual or wrong ClientHello."""

from conversation import *

for suite in (AES_128, AES_256, CHACHA):
    hello_case(f"conversation: suite {suite:04x}", lambda hello: None, suites=(suite,))
for group in (X25519, P256, P384):
    hello_case(f"conversation: group {group}", lambda hello: None, shares=(group,))
hello_case("conversation: two key shares", lambda hello: None, shares=(P256, X25519))
hello_case("conversation: no session id", field("session", b""))
hello_case("conversation: session id of 33 bytes", field("session", bytes(33)))
hello_case("ciphers: GREASE before", field("suites", numbers([0x0A0A, AES_128])))
hello_case("ciphers: none", field("suites", b""))
hello_case("ciphers: unknown ones only", field("suites", numbers([0x0A0A, 0x1304, 0x1305])))
hello_case("ciphers: of TLS 1.2 only", field("suites", numbers([0xC02B, 0xC02F])))
hello_case("ciphers: an odd length", field("suites", numbers([AES_128]) + b"\x13"))
hello_case("ciphers: 5,000", field("suites", numbers([0x0A0A] * 4999 + [AES_128])))
for value in (b"", b"\1", b"\0\1", b"\1\0", b"\0\0"):
    hello_case(f"compression methods {value.hex()}", field("compression", value))
for value in (0x0000, 0x0002, 0x0200, 0x0300, 0x0301, 0x0302, 0x0304, 0x0305, 0x7F1C, 0xFEFD, 0xFFFF):
    hello_case(f"legacy version {value:04x}", field("version", value))
    hello_case(f"versions: {value:04x} only", put(VERSIONS, vector(1, numbers([value]))))
    hello_case(f"versions: {value:04x} and 1.3", put(VERSIONS, vector(1, numbers([value, 0x0304]))))
hello_case("versions: absent", drop(VERSIONS))
hello_case("versions: empty list", put(VERSIONS, b"\0"))
hello_case("versions: empty extension", put(VERSIONS, b""))
hello_case("versions: odd length", put(VERSIONS, vector(1, b"\3\4\3")))
hello_case("versions: trailing byte", put(VERSIONS, vector(1, b"\3\4") + b"\0"))
hello_case("versions: 127 of them", put(VERSIONS, vector(1, numbers([0x7F00] * 126 + [0x0304]))))
hello_case("groups: absent", drop(GROUPS))
hello_case("groups: empty", put(GROUPS, vector(2, b"")))
hello_case("groups: unknown ones only", put(GROUPS, vector(2, numbers([0x0A0A, 0xFEFE]))))
hello_case("groups: GREASE first", lambda hello: None, groups=(0x0A0A, X25519))
hello_case("groups: without that of the share", lambda hello: None, groups=(P256, P384))
hello_case("groups: odd length", put(GROUPS, vector(2, b"\0\x1d\0")))
hello_case("key share: absent", drop(KEY_SHARE))
hello_case("key share: empty extension", put(KEY_SHARE, b""))
hello_case("key share: of zeros", put(KEY_SHARE, vector(2, numbers([X25519]) + vector(2, bytes(32)))))
hello_case(
    "key share: of order 8",
    put(
        KEY_SHARE,
        vector(
            2,
            numbers([X25519])
            + vector(2, bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")),
        ),
    ),
)
hello_case("key share: not on the curve", put(KEY_SHARE, vector(2, numbers([P256]) + vector(2, b"\4" + bytes(64)))))
hello_case("key share: compressed point", put(KEY_SHARE, vector(2, numbers([P256]) + vector(2, b"\2" + bytes(32)))))
for length in (0, 1, 31, 33, 64):
    hello_case(
        f"key share: X25519 of {length} bytes",
        put(KEY_SHARE, vector(2, numbers([X25519]) + vector(2, b"\5" * length))),
    )
    hello_case(
        f"key share: P-256 of {length} bytes",
        put(KEY_SHARE, vector(2, numbers([P256]) + vector(2, b"\4" * length))),
    )
for length in (1, 1183, 1184, 1215, 1217, 2000):
    hello_case(
        f"key share: hybrid of {length} bytes",
        put(KEY_SHARE, vector(2, numbers([0x11EC]) + vector(2, bytes(length)))),
        groups=(0x11EC, X25519),
    )


@case("key share: the same group twice")
def _(client):
    hello = Hello()
    entry = hello.keys[X25519].entry()
    hello.extensions[KEY_SHARE] = vector(2, entry + entry)
    client.start(hello)


hello_case("signature algorithms: absent", drop(SIGNATURE_ALGORITHMS))
hello_case("signature algorithms: empty", put(SIGNATURE_ALGORITHMS, vector(2, b"")))
hello_case("signature algorithms: odd length", put(SIGNATURE_ALGORITHMS, vector(2, b"\4\3\4")))
hello_case(
    "signature algorithms: 16,000", put(SIGNATURE_ALGORITHMS, vector(2, numbers([0xFEFE] * 7000 + [0x0403])))
)
for schemes in ([0x0401], [0x0201, 0x0203], [0x0804], [0x0403], [0x0503], [0x0807], [0xFEFE], [0xFEFE, 0x0403]):
    hello_case(
        f"signature algorithms: {numbers(schemes).hex()}", put(SIGNATURE_ALGORITHMS, vector(2, numbers(schemes)))
    )
for name, body in {
    "another host": vector(2, b"\0" + vector(2, b"other.example")),
    "an address": vector(2, b"\0" + vector(2, b"127.0.0.1")),
    "empty name": vector(2, b"\0" + vector(2, b"")),
    "empty list": vector(2, b""),
    "empty extension": b"",
    "a name with zeros": vector(2, b"\0" + vector(2, b"local\0host")),
    "a final dot": vector(2, b"\0" + vector(2, b"localhost.")),
    "two names": vector(2, (b"\0" + vector(2, b"localhost")) * 2),
    "unknown type": vector(2, b"\7" + vector(2, b"localhost")),
    "not ASCII": vector(2, b"\0" + vector(2, "lö".encode())),
    "a trailing byte": vector(2, b"\0" + vector(2, b"localhost")) + b"\0",
    "65,000 bytes": vector(2, b"\0" + vector(2, b"a" * 15000)),
}.items():
    hello_case(f"server name: {name}", put(SERVER_NAME, body))
hello_case("server name: absent", drop(SERVER_NAME))
hello_case("alpn: absent", drop(ALPN))
for names in (
    (b"h2",),
    (b"h2", b"http/1.1"),
    (b"http/1.1", b"h2"),
    (b"http/1.0",),
    (b"spdy/1",),
    (b"",),
    (b"\xff" * 255,),
):
    hello_case(f"alpn: {names}"[:60], lambda hello: None, alpn=names)
hello_case("alpn: empty list", put(ALPN, vector(2, b"")))
hello_case("alpn: a wrong length", put(ALPN, vector(2, b"\x09http/1.1")))
hello_case("psk modes: absent", drop(PSK_MODES))
hello_case("psk modes: empty", put(PSK_MODES, b"\0"))
hello_case("psk modes: unknown", put(PSK_MODES, vector(1, b"\7")))
hello_case("extensions: none", lambda hello: hello.extensions.clear())
hello_case(
    "extensions: in another order",
    lambda hello: setattr(hello, "extensions", dict(reversed(hello.extensions.items()))),
)
for kind in (SERVER_NAME, GROUPS, ALPN, VERSIONS, KEY_SHARE, SIGNATURE_ALGORITHMS, PSK_MODES):
    hello_case(
        f"extensions: {kind} twice", lambda hello, kind=kind: hello.more.append((kind, hello.extensions[kind]))
    )
hello_case("extensions: an unknown one twice", more((0xFEFE, b""), (0xFEFE, b"")))
hello_case("extensions: an unknown one", more((0xFEFE, bytes(200))))
hello_case("extensions: 500 unknown ones", more(*((0xE000 + number, b"") for number in range(500))))
hello_case("extensions: early data without a PSK", more((EARLY_DATA, b"")))
hello_case("extensions: a cookie that the server did not send", more((COOKIE, vector(2, b"cookie"))))
hello_case("extensions: renegotiation info", more((0xFF01, b"\0")))
hello_case("extensions: renegotiation info of a renegotiation", more((0xFF01, vector(1, bytes(12)))))
hello_case("extensions: status request", more((5, b"\1\0\0\0\0")))
hello_case("extensions: extended master secret", more((23, b"")))
hello_case("extensions: extended master secret with a body", more((23, b"\0")))
hello_case("extensions: record size limit 64", more((28, b"\0\x40")))
hello_case("extensions: record size limit 63", more((28, b"\0\x3f")))
hello_case("extensions: maximum fragment length", more((1, b"\1")))
hello_case("extensions: heartbeat", more((15, b"\1")))
hello_case("extensions: compressed certificates", more((27, b"\6\0\1\0\2\0\3")))
hello_case("extensions: client certificate type raw key", more((19, b"\1\2")))
hello_case("extensions: server certificate type raw key", more((20, b"\1\2")))
hello_case("extensions: session ticket", more((35, b"")))
hello_case("extensions: point formats", more((11, b"\1\0")))
hello_case("extensions: point formats without the uncompressed one", more((11, b"\1\1")))
hello_case("extensions: post-handshake authentication", more((49, b"")))
hello_case(
    "extensions: encrypted client hello, GREASE",
    more((0xFE0D, b"\0\0\1\0\1\x07" + vector(2, bytes(32)) + vector(2, bytes(144)))),
)
hello_case(
    "psk: an unknown one",
    more((PRE_SHARED_KEY, vector(2, vector(2, b"id") + bytes(4)) + vector(2, vector(1, bytes(32))))),
)
hello_case(
    "psk: a short binder",
    more((PRE_SHARED_KEY, vector(2, vector(2, b"id") + bytes(4)) + vector(2, vector(1, bytes(31))))),
)
hello_case("psk: no binder", more((PRE_SHARED_KEY, vector(2, vector(2, b"id") + bytes(4)) + vector(2, b""))))
hello_case(
    "psk: two identities, one binder",
    more((PRE_SHARED_KEY, vector(2, (vector(2, b"id") + bytes(4)) * 2) + vector(2, vector(1, bytes(32))))),
)
hello_case(
    "psk: not the last extension",
    more((PRE_SHARED_KEY, vector(2, vector(2, b"id") + bytes(4)) + vector(2, vector(1, bytes(32)))), (0xFEFE, b"")),
)


# HelloRetryRequest


def retried(name, change, first=None):
    @case(f"retry: {name}")
    def converse(client):
        hello = Hello(shares=(P521,), groups=(P521, X25519, P256)) if first is None else first()
        client.start(hello)
        if not client.retried:
            return
        key = KeyShare(X25519)
        hello.keys = {X25519: key}
        hello.extensions[KEY_SHARE] = vector(2, key.entry())
        change(hello)
        client.events.append("second hello")
        client.send_hello(hello, 0x0303)
        client.read_until(lambda: client.finished)
        if client.finished and client.writer:
            client.complete().encrypted(APPLICATION_DATA, client.get())


retried("as requested", lambda hello: None)
retried("no share in the first hello", lambda hello: None, lambda: Hello(shares=()))
retried(
    "the same shares again",
    lambda hello: hello.extensions.__setitem__(KEY_SHARE, vector(2, KeyShare(P521).entry())),
)
retried(
    "a share of another group",
    lambda hello: hello.extensions.__setitem__(KEY_SHARE, vector(2, KeyShare(P256).entry())),
)
retried("no share", put(KEY_SHARE, vector(2, b"")))
retried("without the extension", drop(KEY_SHARE))
retried(
    "two shares",
    lambda hello: hello.extensions.__setitem__(
        KEY_SHARE, vector(2, hello.keys[X25519].entry() + KeyShare(P256).entry())
    ),
)
retried("another random", field("random", bytes(32)))
retried("another session id", field("session", bytes(32)))
retried("other suites", field("suites", numbers([CHACHA])))
retried("other versions", put(VERSIONS, vector(1, numbers([0x0305, 0x0304]))))
retried("another server name", put(SERVER_NAME, vector(2, b"\0" + vector(2, b"other.example"))))
retried("a further extension", more((0xFEFE, b"")))
retried("a cookie", more((COOKIE, vector(2, b"cookie"))))
retried("early data", more((EARLY_DATA, b"")))
retried("another ALPN", put(ALPN, vector(2, vector(1, b"h2"))))


# A hello with each byte changed, and cut after each byte

FIXED = Hello()


def changed(name, change):
    @case(name)
    def converse(client):
        encoded = change(FIXED.encode())
        client.note_hello(FIXED, encoded)
        client.record(HANDSHAKE, encoded, 0x0301)


for at in range(len(FIXED.encode())):
    for bit in (0, 7):
        changed(
            f"hello, byte {at}, bit {bit} changed",
            lambda hello, at=at, bit=bit: bytes(
                byte ^ (1 << bit) * (at == position) for position, byte in enumerate(hello)
            ),
        )
for length in range(len(FIXED.encode()) - 4):
    changed(f"hello, cut after {length} bytes", lambda hello, length=length: message(1, hello[4 : 4 + length]))
