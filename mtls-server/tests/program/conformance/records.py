"""Conversations with unusual or wrong records, before and after the handshake."""

from conversation import *

# Records before keys


def first_record(name, *records):
    @case(f"first record: {name}")
    def converse(client):
        for record in records:
            client.raw(record)


for kind in (*range(20), 24, 25, 64, 127, 128, 255):
    first_record(f"type {kind}", plain(kind, b"\1\0\0\0"))
first_record("CCS", plain(20, b"\1"))
first_record("CCS of 2 bytes", plain(20, b"\1\1"))
first_record("empty CCS", plain(20, b""))
first_record("warning", plain(21, b"\1\x5a"))
first_record("close_notify", plain(21, b"\1\0"))
first_record("fatal alert", plain(21, b"\2\x28"))
first_record("half an alert", plain(21, b"\2"))
first_record("empty alert", plain(21, b""))
first_record("application data", plain(23, b"GET / HTTP/1.1\r\n\r\n"))
first_record("empty handshake", plain(22, b""))
first_record("many empty handshake records", *[plain(22, b"")] * 40)
first_record("16,385 bytes", plain(22, b"\1\0\x40\0" + bytes(16381)))
first_record("65,535 bytes", plain(22, b"\1\0\xff\0" + bytes(65531)))
first_record(
    "hello of 64 KiB",
    *[plain(22, part) for part in (b"\1\1\0\0" + bytes(16380), bytes(16384), bytes(16384), bytes(16388))],
)
first_record("hello of 16 MiB announced", plain(22, b"\1\xff\xff\xff" + bytes(1000)))
first_record("an announced hello that never comes", plain(22, b"\1\0\2\0"))
first_record("half a header", b"\x16\3\1")
first_record("nothing")
first_record("HTTP", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
first_record("SSH", b"SSH-2.0-OpenSSH_9.2\r\n")
first_record("zeros", bytes(100))
first_record("PROXY protocol", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")
first_record(
    "SSL 2.0 hello", bytes.fromhex("802e0103010015000000100100800700c0030080060040020080040080") + bytes(20)
)
for kind in (0, 2, 4, 8, 11, 12, 14, 15, 16, 20, 24, 254):
    first_record(f"handshake message {kind}", plain(22, message(kind, bytes(8))))
for version in (0x0000, 0x0200, 0x0300, 0x0302, 0x0303, 0x0304, 0x0400, 0xFFFF):

    @case(f"first record: version {version:04x}")
    def _(client, version=version):
        client.send_hello(Hello(), version)
        client.read_until(lambda: client.finished)


def fragments(name, split):
    @case(f"fragments: {name}")
    def converse(client):
        hello = Hello()
        encoded = hello.encode()
        client.note_hello(hello, encoded)
        for kind, part in split(encoded):
            client.record(kind, part, 0x0301)
        client.read_until(lambda: client.finished)
        if client.finished and client.writer:
            client.complete().encrypted(APPLICATION_DATA, client.get())


fragments("one byte in each record", lambda hello: [(22, hello[at : at + 1]) for at in range(len(hello))])
for at in (1, 3, 4, 5, 6, 38, 39, 70, 100, -1):
    fragments(f"two records, at {at}", lambda hello, at=at: [(22, hello[:at]), (22, hello[at:])])
fragments("an empty record between", lambda hello: [(22, hello[:9]), (22, b""), (22, hello[9:])])
fragments("CCS before", lambda hello: [(20, b"\1"), (22, hello)])
fragments("CCS between", lambda hello: [(22, hello[:9]), (20, b"\1"), (22, hello[9:])])
fragments("application data between", lambda hello: [(22, hello[:9]), (23, b"x"), (22, hello[9:])])
fragments("a warning between", lambda hello: [(22, hello[:9]), (21, b"\1\x5a"), (22, hello[9:])])
fragments("a second hello in the record", lambda hello: [(22, hello + hello)])
fragments("a second hello in a record", lambda hello: [(22, hello), (22, hello)])
fragments("trailing bytes", lambda hello: [(22, hello + b"\0\0")])
fragments("CCS after", lambda hello: [(22, hello), (20, b"\1")])
fragments("many CCS after", lambda hello: [(22, hello)] + [(20, b"\1")] * 100)


# The second half of the handshake


def after_flight(name, send):
    """`send` gets a client that has the server's Finished, and its own handshake keys."""

    @case(f"second flight: {name}")
    def converse(client):
        client.start()
        client.application_keys()
        send(client)


def finish(client, **settings):
    finished = client.client_finished(**settings)
    client.encrypted(HANDSHAKE, finished)
    client.use_application_keys(finished)
    client.encrypted(APPLICATION_DATA, client.get())


def before_finished(kind, payload):
    return lambda client: (client.encrypted(kind, payload), finish(client))


after_flight("nothing", lambda client: None)
after_flight("Finished of zeros", lambda client: finish(client, change=lambda verify: bytes(len(verify))))
for bit in (0, 7, 100, 255):
    after_flight(
        f"Finished, bit {bit} changed",
        lambda client, bit=bit: finish(
            client,
            change=lambda verify: bytes(byte ^ (1 << bit % 8) * (at == bit // 8) for at, byte in enumerate(verify)),
        ),
    )
after_flight("Finished without its last byte", lambda client: finish(client, change=lambda verify: verify[:-1]))
after_flight("Finished and a byte", lambda client: finish(client, change=lambda verify: verify + b"\0"))
after_flight("empty Finished", lambda client: finish(client, change=lambda verify: b""))
after_flight("Finished of 16,000 bytes", lambda client: finish(client, change=lambda verify: verify * 480))
after_flight("Finished in the clear", lambda client: client.record(HANDSHAKE, client.client_finished()))
after_flight(
    "Finished in two records",
    lambda client: (
        client.raw(
            client.seal(HANDSHAKE, client.client_finished()[:9])
            + client.seal(HANDSHAKE, client.client_finished()[9:])
        )
    ),
)
after_flight(
    "Finished and KeyUpdate in one record",
    lambda client: client.encrypted(HANDSHAKE, client.client_finished() + message(24, b"\0")),
)
after_flight(
    "Finished twice", lambda client: [client.encrypted(HANDSHAKE, client.client_finished()) for _ in range(2)]
)
after_flight("application data before Finished", before_finished(APPLICATION_DATA, b"x"))
after_flight("empty application data before Finished", before_finished(APPLICATION_DATA, b""))
after_flight("CCS before Finished", lambda client: (client.record(20, b"\1"), finish(client)))
after_flight(
    "two CCS before Finished", lambda client: (client.record(20, b"\1"), client.record(20, b"\1"), finish(client))
)
after_flight("a wrong CCS before Finished", lambda client: (client.record(20, b"\2"), finish(client)))
after_flight("an encrypted CCS", before_finished(20, b"\1"))
for kind, body in (
    (1, b""),
    (2, bytes(40)),
    (4, bytes(40)),
    (5, b""),
    (8, b"\0\0"),
    (11, b"\0\0\0\0"),
    (13, bytes(5)),
    (15, bytes(8)),
    (24, b"\0"),
    (254, bytes(4)),
):
    after_flight(f"message {kind} before Finished", before_finished(HANDSHAKE, message(kind, body)))
after_flight("hello again", before_finished(HANDSHAKE, Hello().encode()))
after_flight("hello again in the clear", lambda client: client.record(HANDSHAKE, Hello().encode()))
after_flight("an alert in the clear", lambda client: client.record(ALERT, b"\2\x28"))
after_flight("close_notify in the clear", lambda client: client.record(ALERT, b"\1\0"))
after_flight("an encrypted alert", before_finished(ALERT, b"\2\x28"))
after_flight("close_notify", before_finished(ALERT, b"\1\0"))
after_flight("user_canceled", before_finished(ALERT, b"\1\x5a"))
after_flight("garbage", lambda client: client.record(APPLICATION_DATA, bytes(100)))
after_flight("a record of 0 bytes", lambda client: client.record(APPLICATION_DATA, b""))
after_flight("a record of 16 bytes", lambda client: client.record(APPLICATION_DATA, bytes(16)))
after_flight(
    "application keys too early",
    lambda client: client.raw(
        client.seal(HANDSHAKE, client.client_finished(), keys=Keys(client.application[0], client.suite))
    ),
)
after_flight("padding", lambda client: client.encrypted(HANDSHAKE, client.client_finished(), padding=5000))


# Application data


def connected(name, send):
    """`send` gets a client with a complete connection."""

    @case(f"connected: {name}")
    def converse(client):
        send(client.connect())


def then_get(*parts):
    return lambda client: (
        [client.encrypted(*part) for part in parts],
        client.encrypted(APPLICATION_DATA, client.get()),
    )


def raw_inner(client, *inners):
    for inner in inners:
        client.raw(client.seal_inner(inner))
    client.encrypted(APPLICATION_DATA, client.get())


connected("GET", then_get())
connected(
    "GET byte by byte",
    lambda client: [client.encrypted(23, client.get()[at : at + 1]) for at in range(len(client.get()))],
)
connected("two requests", lambda client: client.encrypted(23, client.get(close=False) + client.get()))
for count in (1, 10, 31, 32, 33, 100):
    connected(f"{count} empty records", then_get(*[(APPLICATION_DATA, b"")] * count))
for padding in (1, 255, 16000, 16384):
    connected(f"padding of {padding} bytes", then_get((APPLICATION_DATA, b"", padding)))
connected("a whole record of padding", lambda client: raw_inner(client, b"\x17" + bytes(16384)))
connected("a record that is too long", lambda client: raw_inner(client, b"\x17" + bytes(16385)))
connected("a record that is much too long", lambda client: raw_inner(client, b"\x17" + bytes(16385 + 240)))
connected("no content type", lambda client: raw_inner(client, bytes(10)))
connected("an empty inner plaintext", lambda client: raw_inner(client, b""))
for kind in (1, 19, 20, 24, 255):
    connected(f"inner type {kind}", then_get((kind, b"\1\1")))
connected("a changed tag", lambda client: client.raw(bytes(client.seal(23, client.get())[:-1]) + b"\0\0"[:1]))
connected(
    "a changed ciphertext",
    lambda client: client.raw(bytes(byte ^ (at == 9) for at, byte in enumerate(client.seal(23, client.get())))),
)
connected("a changed header", lambda client: client.raw(b"\x16" + client.seal(23, client.get())[1:]))
connected(
    "another version in the header", lambda client: client.raw(b"\x17\3\1" + client.seal(23, client.get())[3:])
)
connected("a record left out", lambda client: (client.seal(23, b"x"), client.encrypted(23, client.get())))
connected("a record repeated", lambda client: client.raw(client.seal(23, client.get(close=False)) * 2))
connected("half a record", lambda client: client.raw(client.seal(23, bytes(100))[:40]))
connected("CCS", lambda client: (client.record(20, b"\1"), client.encrypted(23, client.get())))
connected("data in the clear", lambda client: client.record(23, client.get()))
connected("hello in the clear", lambda client: client.record(22, Hello().encode()))
connected("hello: renegotiation", then_get((HANDSHAKE, Hello().encode())))
for kind, body in (
    (0, b""),
    (4, bytes(40)),
    (5, b""),
    (11, bytes(4)),
    (13, bytes(5)),
    (15, bytes(8)),
    (20, bytes(32)),
    (99, b""),
):
    connected(f"message {kind}", then_get((HANDSHAKE, message(kind, body))))
connected("half a message", then_get((HANDSHAKE, b"\x18\0\0")))
connected("empty handshake record", then_get((HANDSHAKE, b"")))
connected("empty alert", then_get((ALERT, b"")))
connected("half an alert", then_get((ALERT, b"\1")))
connected("two alerts in a record", then_get((ALERT, b"\1\x5a\1\x5a")))
connected("close_notify", then_get((ALERT, b"\1\0")))
connected(
    "close_notify after the request",
    lambda client: client.raw(client.seal(23, client.get()) + client.seal(21, b"\1\0")),
)
connected("fatal close_notify", then_get((ALERT, b"\2\0")))
connected("fatal alert", then_get((ALERT, b"\2\x50")))
connected(
    "fatal alert after the request",
    lambda client: client.raw(client.seal(23, client.get()) + client.seal(21, b"\2\x50")),
)
for count in (1, 3, 4, 5, 10):
    connected(f"{count} user_canceled", then_get(*[(ALERT, b"\1\x5a")] * count))
    connected(f"{count} unknown warnings", then_get(*[(ALERT, b"\1\xfe")] * count))


# KeyUpdate


def updated(client, requests, get=True):
    for request in requests:
        client.encrypted(HANDSHAKE, message(24, request))
        client.writer = client.writer.next()
    if get:
        client.encrypted(APPLICATION_DATA, client.get())


for name, requests in {
    "not requested": [b"\0"],
    "requested": [b"\1"],
    "both": [b"\0", b"\1"],
    "twice requested": [b"\1"] * 2,
    "33 requested": [b"\1"] * 33,
    "100": [b"\0"] * 100,
    "64 requested": [b"\1"] * 64,
}.items():
    connected(f"KeyUpdate: {name}", lambda client, requests=requests: updated(client, requests))
for body in (b"", b"\2", b"\xff", b"\0\0"):
    connected(f"KeyUpdate: {body.hex()}", lambda client, body=body: updated(client, [body]))
connected("KeyUpdate: old keys after it", then_get((HANDSHAKE, message(24, b"\0"))))
connected("KeyUpdate: with data behind it in the record", then_get((HANDSHAKE, message(24, b"\0") * 2)))
connected(
    "KeyUpdate: in two records",
    lambda client: (
        client.raw(client.seal(22, b"\x18\0\0") + client.seal(22, b"\1\0")),
        setattr(client, "writer", client.writer.next()),
        client.encrypted(23, client.get()),
    ),
)
connected("KeyUpdate: in the clear", lambda client: client.record(22, message(24, b"\0")))
