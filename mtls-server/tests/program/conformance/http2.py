"""HTTP/2 conformance as a difference: connections to this server and to a plain server of hyper.

Arguments: the address of each, such as 127.0.0.1:8443. Needs hpack (PyPI). The exit status is 77 without
it, 1 if any outcome differs. The cases are those of h2spec, by the sections of RFC 9113 and RFC 7541, and
the limits of both servers.
"""

import struct
import sys

try:
    from frames import *
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

from compare import address, compare

CASES = []

EMPTY_DATA = "6.1: 150 empty frames"


def case(name, *frames, initial=b"", preface=True):
    """Registers a list of frames, or of functions of a connection, as a case."""

    def converse(where):
        connection = Connection(where, initial, preface)
        for part in frames:
            part(connection) if callable(part) else connection.raw(part)
        return connection.finish()

    CASES.append((name, converse))


def get(stream=1, **settings):
    return lambda connection: connection.request(stream, **settings)


def upload(stream=1, **settings):
    return lambda connection: connection.upload(stream, **settings)


def fields(*list_of_fields):
    return lambda connection: connection.request(fields=list(list_of_fields))


def without(name):
    return [one for one in REQUEST if one[0] != name]


def instead(name, value):
    return [(one, value if one == name else old) for one, old in REQUEST]


HEAD = block(REQUEST)

# No data may be sent, so that a stream with a response stays open.
HELD = settings((4, 0))
# The default: what follows has a response with a body.
OPEN = frame(SETTINGS, 0, 0, settings((4, 65535)))


def held(name, *frames):
    case(name, *frames, initial=HELD)


# 3.4 Connection preface
case("3.4: a request", get())
case("3.4: nothing after the preface")
case("3.4: no preface", preface=False)
case("3.4: HTTP/1.1", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", preface=False)
case("3.4: a wrong preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r" + frame(SETTINGS, 0, 0), preface=False)
case("3.4: half a preface", PREFACE[:10], preface=False)
case("3.4: no SETTINGS", PREFACE + frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD), preface=False)
case("3.4: PING before SETTINGS", PREFACE + frame(PING, 0, 0, bytes(8)), preface=False)
case("3.4: an acknowledgement before SETTINGS", PREFACE + frame(SETTINGS, ACK, 0), preface=False)
case("3.4: the preface twice", PREFACE)

# 4 Frames
case("4.1: an unknown frame", frame(0xBB, 0xFF, 0, bytes(8)), get())
case("4.1: an unknown frame of a stream", frame(0xBB, 0, 1, bytes(8)), get())
case("4.1: unknown flags", frame(PING, 0x16, 0, bytes(8)), get())
case("4.1: the reserved bit", frame(PING, 0, 1 << 31, bytes(8)), get())
held("4.2: DATA of 16,384 bytes", upload(), frame(DATA, END_STREAM, 1, bytes(16384)))
held("4.2: DATA of 16,385 bytes", upload(), frame(DATA, END_STREAM, 1, bytes(16385)))
case(
    "4.2: HEADERS of 16,385 bytes",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + field("x", "a" * (16385 - len(HEAD) - 6))),
)
case("4.2: SETTINGS of 16,386 bytes", frame(SETTINGS, 0, 0, settings((0x99, 0)) * 2731))
case("4.2: PING of 16,385 bytes", frame(PING, 0, 0, bytes(16385)))
case("4.2: an unknown frame of 16,385 bytes", frame(0xBB, 0, 0, bytes(16385)))
case("4.3: fields that cannot be decoded", frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\xff\xff\xff"))
case(
    "4.3: PRIORITY within a block",
    frame(HEADERS, END_STREAM, 1, HEAD),
    frame(PRIORITY, 0, 1, bytes(5)),
    frame(CONTINUATION, END_HEADERS, 1),
)
case(
    "4.3: HEADERS of another stream within a block",
    frame(HEADERS, END_STREAM, 1, HEAD),
    frame(HEADERS, END_STREAM | END_HEADERS, 3, HEAD),
)
case(
    "4.3: an unknown frame within a block",
    frame(HEADERS, END_STREAM, 1, HEAD),
    frame(0xBB, 0, 0),
    frame(CONTINUATION, END_HEADERS, 1),
)
case("4.3: DATA within a block", frame(HEADERS, 0, 1, HEAD), frame(DATA, END_STREAM, 1, b"x"))
case("4.3: a block without an end", frame(HEADERS, END_STREAM, 1, HEAD))

# 5.1 Stream states
case("5.1: idle: DATA", frame(DATA, END_STREAM, 1, b"x"))
case("5.1: idle: RST_STREAM", frame(RST_STREAM, 0, 1, bytes(4)))
case("5.1: idle: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
case("5.1: idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, HEAD))
case("5.1: idle: PRIORITY", frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), get())
for name, later in {
    "DATA": frame(DATA, END_STREAM, 1, b"x"),
    "HEADERS": frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD),
    "CONTINUATION": frame(CONTINUATION, END_HEADERS, 1, HEAD),
}.items():
    held(f"5.1: half closed: {name}", upload(), frame(DATA, END_STREAM, 1, b"x"), later)
    held(f"5.1: closed by RST_STREAM: {name}", upload(), frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), later)
held("5.1: half closed: RST_STREAM", upload(), frame(DATA, END_STREAM, 1), frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))
held(
    "5.1: closed by RST_STREAM: WINDOW_UPDATE",
    upload(),
    frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
    frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
    OPEN,
    get(3),
)
held(
    "5.1: closed by RST_STREAM: PRIORITY",
    upload(),
    frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
    frame(PRIORITY, 0, 1, b"\0\0\0\0\1"),
    OPEN,
    get(3),
)
case("5.1.1: an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, HEAD))
held("5.1.1: a lower stream", upload(5), frame(HEADERS, END_HEADERS | END_STREAM, 3, HEAD))
case("5.1.1: stream 2^31-1", get(2**31 - 1))
held("5.1.2: 128 streams, and one more", *[get(1 + 2 * number, respond=False) for number in range(129)])
case(
    "5.1.2: 200 streams, of which 100 at a time",
    *[get(1 + 2 * number) for number in range(100)],
    lambda connection: connection.wait(),
    *[get(1 + 2 * number) for number in range(100, 200)],
)
case(
    "5.3.1: HEADERS that depend on themselves",
    frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\1\x10" + HEAD),
)
case("5.3.1: PRIORITY that depends on itself", frame(PRIORITY, 0, 1, b"\0\0\0\1\x10"))
case(
    "5.4.1: PING of a stream, and a request",
    frame(PING, 0, 3, bytes(8)),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD),
)

# 6 Frame definitions
case("6.1: DATA of stream 0", frame(DATA, END_STREAM, 0, b"x"))
held("6.1: padding longer than the frame", upload(), frame(DATA, END_STREAM | PADDED, 1, b"\6test"))
case("6.1: padding of the whole frame", upload(respond=True), frame(DATA, END_STREAM | PADDED, 1, b"\4\0\0\0\0"))
held("6.1: padding without its length", upload(), frame(DATA, END_STREAM | PADDED, 1))
case("6.1: 90 empty frames", upload(respond=True), frame(DATA, 0, 1) * 90 + frame(DATA, END_STREAM, 1))
case(EMPTY_DATA, upload(respond=True), frame(DATA, 0, 1) * 150 + frame(DATA, END_STREAM, 1))
case("6.2: HEADERS of stream 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, HEAD))
case(
    "6.2: padding",
    lambda connection: (
        connection.send(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\3" + HEAD + bytes(3)),
        connection.awaited.add(1),
    ),
)
case(
    "6.2: padding longer than the frame",
    frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([len(HEAD) + 1]) + HEAD),
)
case(
    "6.2: priority",
    lambda connection: (
        connection.send(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, b"\x80\0\0\3\x10" + HEAD),
        connection.awaited.add(1),
    ),
)
case("6.2: priority cut off", frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, bytes(4)))
case("6.3: PRIORITY of stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\1\1"))
for length in (0, 4, 6):
    held(f"6.3: PRIORITY of {length} bytes", upload(), frame(PRIORITY, 0, 1, bytes(length)))
case("6.4: RST_STREAM of stream 0", frame(RST_STREAM, 0, 0, bytes(4)))
for length in (0, 3, 5):
    held(f"6.4: RST_STREAM of {length} bytes", upload(), frame(RST_STREAM, 0, 1, bytes(length)))
held("6.4: an unknown code", upload(), frame(RST_STREAM, 0, 1, b"\xff" * 4), OPEN, get(3))
case("6.5: an acknowledgement with a payload", frame(SETTINGS, ACK, 0, settings((1, 0))))
case("6.5: an acknowledgement too many", frame(SETTINGS, ACK, 0) * 3, get())
case("6.5: SETTINGS of a stream", frame(SETTINGS, 0, 1, settings((3, 100))))
for length in (1, 5, 7):
    case(f"6.5: SETTINGS of {length} bytes", frame(SETTINGS, 0, 0, bytes(length)))
for identifier, value in (
    (1, 0),
    (1, 2**32 - 1),
    (2, 0),
    (2, 1),
    (2, 2),
    (3, 0),
    (4, 0),
    (4, 2**31 - 1),
    (4, 2**31),
    (4, 2**32 - 1),
    (5, 0),
    (5, 16383),
    (5, 16384),
    (5, 2**24 - 1),
    (5, 2**24),
    (6, 0),
    (6, 1),
    (8, 0),
    (8, 1),
    (8, 2),
    (0x99, 7),
):
    case(
        f"6.5.2: setting {identifier} = {value}",
        *([get()] if identifier != 4 or value else []),
        initial=settings((identifier, value)),
    )
case(
    "6.5.2: extended CONNECT off and on",
    frame(SETTINGS, 0, 0, settings((8, 1))),
    frame(SETTINGS, 0, 0, settings((8, 0))),
    get(),
)
case("6.5.3: 50 times", frame(SETTINGS, 0, 0, settings((3, 100))) * 50, get())
case("6.5.3: the same setting twice", frame(SETTINGS, 0, 0, settings((4, 2), (4, 65535))), get())
case("6.6: PUSH_PROMISE", get(), frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + HEAD))
case("6.7: PING", frame(PING, 0, 0, b"payload!"))
case("6.7: an acknowledgement of no PING", frame(PING, ACK, 0, b"payload!"), get())
case("6.7: PING of a stream", frame(PING, 0, 1, bytes(8)))
for length in (0, 7, 9):
    case(f"6.7: PING of {length} bytes", frame(PING, 0, 0, bytes(length)))
case("6.7: 100 PINGs", frame(PING, 0, 0, bytes(8)) * 100, get())
case("6.8: GOAWAY of a stream", frame(GOAWAY, 0, 1, bytes(8)))
case("6.8: GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)))
case("6.8: GOAWAY", frame(GOAWAY, 0, 0, bytes(8)))
case("6.9: WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, bytes(4)))
held("6.9: WINDOW_UPDATE of 0 for a stream", upload(), frame(WINDOW_UPDATE, 0, 1, bytes(4)), OPEN, get(3))
for length in (0, 3, 5):
    case(f"6.9: WINDOW_UPDATE of {length} bytes", frame(WINDOW_UPDATE, 0, 0, bytes(length)))
most = struct.pack(">I", 2**31 - 1)
case("6.9.1: a window of 2^31", frame(WINDOW_UPDATE, 0, 0, most))
case("6.9.1: a window of 1 byte", get(), *[frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")] * 20, initial=settings((4, 1)))
case("6.9.2: a window that opens later", get(), frame(SETTINGS, 0, 0, settings((4, 100))), initial=settings((4, 0)))
case(
    "6.9.2: a window that becomes negative",
    get(),
    frame(SETTINGS, 0, 0, settings((4, 2))),
    *[frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x64")],
    initial=settings((4, 3)),
)
case(
    "6.10: two CONTINUATIONs",
    lambda connection: (
        connection.send(HEADERS, END_STREAM, 1, HEAD[:5]),
        connection.send(CONTINUATION, 0, 1, HEAD[5:9]),
        connection.send(CONTINUATION, END_HEADERS, 1, HEAD[9:]),
        connection.awaited.add(1),
    ),
)
held("6.10: CONTINUATION after the end", upload(), frame(CONTINUATION, END_HEADERS, 1, HEAD))
case("6.10: CONTINUATION of stream 0", frame(HEADERS, END_STREAM, 1, HEAD), frame(CONTINUATION, END_HEADERS, 0))
case(
    "6.10: CONTINUATION of another stream", frame(HEADERS, END_STREAM, 1, HEAD), frame(CONTINUATION, END_HEADERS, 3)
)
case("6.10: empty CONTINUATIONs", frame(HEADERS, END_STREAM, 1, HEAD), frame(CONTINUATION, 0, 1) * 100)
case(
    "6.10: 64 KiB of CONTINUATIONs",
    frame(HEADERS, END_STREAM, 1, HEAD),
    frame(CONTINUATION, 0, 1, field("x", "y" * 16000)) * 4 + frame(CONTINUATION, END_HEADERS, 1),
)

# 7 and 8: requests
case(
    "8.1: trailers",
    upload(respond=True),
    frame(DATA, 0, 1, b"x"),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, field("x", "y")),
)
held(
    "8.1: trailers that end nothing",
    upload(),
    frame(DATA, 0, 1, b"x"),
    frame(HEADERS, END_HEADERS, 1, field("x", "y")),
)
held(
    "8.1: trailers with a pseudo-field",
    upload(),
    frame(DATA, 0, 1, b"x"),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, field(":path", "/")),
)
for name, value in (
    ("X", "upper case"),
    ("", "no name"),
    ("a b", "x"),
    ("a\0b", "x"),
    ("a:b", "x"),
    ("\x7f", "x"),
    ("ä", "x"),
    ("x", "a\0b"),
    ("x", "a\rb"),
    ("x", "a\nb"),
    ("x", " a"),
    ("x", "a "),
    ("x", "\t"),
    ("x", "\x7f"),
    ("x", "ä"),
    ("x", ""),
    (":unknown", "x"),
    (":status", "200"),
    (":protocol", "websocket"),
    ("connection", "close"),
    ("keep-alive", "1"),
    ("proxy-connection", "x"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "x"),
    ("te", "trailers"),
    ("te", "gzip"),
    ("host", "localhost"),
    ("host", "other.example"),
    ("cookie", "a=b"),
    ("expect", "100-continue"),
    ("content-length", "1"),
    ("content-length", "x"),
    ("content-length", "-1"),
    ("content-length", "0"),
    ("content-length", "99999999999999999999"),
    (":path", "/"),
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
):
    case(f"8.2: field {name!r}: {value!r}", get(extra=[(name, value)]))
for name in (":method", ":scheme", ":path", ":authority"):
    case(f"8.3.1: without {name}", fields(*without(name)))
    case(f"8.3.1: empty {name}", fields(*instead(name, "")))
    case(f"8.3.1: {name} twice", fields((name, dict(REQUEST)[name]), *REQUEST))
    case(f"8.3.1: {name} last", fields(*without(name), ("x", "y"), (name, dict(REQUEST)[name])))
for name, values in {
    ":method": ("HEAD", "get", "G T", "OPTIONS", "CONNECT", "M-SEARCH", "\0"),
    ":scheme": ("http", "ftp", "HTTPS", "a b", "\0"),
    ":path": ("*", "index.html", "//", "/a b", "/\0", "/#x", "/?", "/%", "http://localhost/", "/" + "a" * 9000),
    ":authority": ("user@localhost", "localhost:443", "localhost:x", "[::1]", "a b", "\0", "local/host", "." * 300),
}.items():
    for value in values:
        case(f"8.3.1: {name} {value[:20]!r}", fields(*instead(name, value)))
case("8.3.1: OPTIONS *", fields((":method", "OPTIONS"), *instead(":path", "*")[1:]))
case("8.5: CONNECT", fields((":method", "CONNECT"), (":authority", "localhost:443")))
case("8.5: CONNECT with a path", fields((":method", "CONNECT"), *REQUEST[1:]))
case("8.5: CONNECT without an authority", fields((":method", "CONNECT")))
for length, body in ((1, b""), (0, b"x"), (1, b"xx"), (3, b"xx")):
    held(
        f"8.1.1: content-length {length}, body of {len(body)}",
        upload(extra=[("content-length", str(length))]),
        frame(DATA, END_STREAM, 1, body),
    )
case(
    "8.1.1: content-length 2, body of 2",
    upload(extra=[("content-length", "2")], respond=True),
    frame(DATA, END_STREAM, 1, b"xx"),
)
held(
    "8.1.1: two content lengths",
    upload(extra=[("content-length", "1"), ("content-length", "2")]),
    frame(DATA, END_STREAM, 1, b"x"),
)
case(
    "8.1.1: the same content length twice",
    upload(extra=[("content-length", "1"), ("content-length", "1")], respond=True),
    frame(DATA, END_STREAM, 1, b"x"),
)
case("10.5.1: 100 fields", get(extra=[("x", "y")] * 100))
case(
    "10.5.1: 5,000 fields of one byte",
    lambda connection: connection.raw(
        frame(HEADERS, END_STREAM, 1, HEAD) + frame(CONTINUATION, END_HEADERS, 1, field("x", "y") * 3000)
    ),
)
held(
    "10.5: 10 requests that are reset",
    *[
        part
        for stream in range(1, 21, 2)
        for part in (get(stream, respond=False), frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
    ],
)
case("several requests", *[get(1 + 2 * number) for number in range(20)])

# RFC 7541
case("HPACK 2.3.3: index 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\x80"))
case(
    "HPACK 2.3.3: an index beyond the tables",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + integer(70, 7, 0x80)),
)
case(
    "HPACK 2.3.3: a name beyond the tables",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + integer(70, 6, 0x40) + string("x")),
)
case(
    "HPACK 2.3: indexed fields",
    lambda connection: (
        connection.send(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x87\x84\x41" + string("localhost")),
        connection.send(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82\x87\x84\xbe"),
        connection.awaited.update((1, 3)),
    ),
)
case(
    "HPACK 4.2: a table size of 0",
    lambda connection: (
        connection.send(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20" + HEAD),
        connection.awaited.add(1),
    ),
)
case("HPACK 4.2: a table size after a field", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\x20"))
case(
    "HPACK 6.3: a table size that is too large",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, integer(4097, 5, 0x20) + HEAD),
)
case(
    "HPACK 5.1: an integer of 2^64",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\xff" + b"\xff" * 10 + b"\1"),
)
case(
    "HPACK 5.1: an integer with zeros",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\xff\x80\x80\x80\x80\x80\x80\x00"),
)
case("HPACK 5.2: a string beyond the block", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\0\1x\x10y"))
case(
    "HPACK 5.2: padding of 8 bits",
    frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\0\x85\xf2\xb2\x4a\x84\xff\x81\xf3"),
)
case("HPACK 5.2: padding of zeros", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\0\x82\xf3\x00\1x"))
case(
    "HPACK 5.2: the end of string", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD + b"\0\x84\xff\xff\xff\xff\1x")
)


def merged(name, one, other):
    """h2 ends a connection after 100 DATA frames without data; this server merges those that arrive together
    (docs/design.md)."""
    return name == EMPTY_DATA and one.get(1) == ["status 405", "data", "end"] and 1 not in other


# hyper leaves these to the application: Host differs from :authority, and no valid host or path.
MALFORMED = {
    "8.2: field 'host': 'other.example'",
    "8.3.1: :path '*'",
    "8.3.1: :authority 'user@localhost'",
    "8.3.1: :authority 'localhost:x'",
}


def refused(name, one, other):
    """this server refuses a request without one valid host and a path, which a service or another server might
    understand in another way (docs/guide.md)."""
    return name in MALFORMED and one.get(1) == ["status 400", "data", "end"] and other.get(1) != one.get(1)


if __name__ == "__main__":
    sys.exit(compare(CASES, address(sys.argv[1]), address(sys.argv[2]), [merged, refused]))
