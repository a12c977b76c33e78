"""An HTTP/2 connection whose every frame the caller chooses. It records what the server sends."""

import socket
import ssl
import struct

from hpack import Decoder, HPACKError

# Longer than the server waits for anything but a request.
LIMIT = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
ERRORS = """NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR
REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED""".split()

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE
CONTEXT.set_alpn_protocols(["h2"])

REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
UPLOAD = [(":method", "POST"), *REQUEST[1:]]


def field(name, value):
    """A literal field that no table takes up (RFC 7541, 6.2.2), whatever bytes it has."""
    return b"\0" + string(name) + string(value)


def string(text):
    data = text.encode("latin-1") if isinstance(text, str) else text
    return integer(len(data), 7) + data


def integer(value, prefix, first=0):
    """RFC 7541, 5.1."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    encoded, value = bytes([first | most]), value - most
    while value >= 128:
        encoded, value = encoded + bytes([value % 128 + 128]), value // 128
    return encoded + bytes([value])


def block(fields):
    return b"".join(field(name, value) for name, value in fields)


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs):
    return b"".join(struct.pack(">HI", identifier, value) for identifier, value in pairs)


class Connection:
    """One connection. What the server did is sorted by stream, since responses overtake one another."""

    def __init__(self, address, initial=b"", preface=True):
        tcp = socket.create_connection(address, timeout=LIMIT)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = CONTEXT.wrap_socket(tcp, server_hostname="localhost")
        self.received, self.decoder = bytearray(), Decoder()
        self.streams, self.connection, self.sent = {}, [], {}
        self.awaited, self.pings, self.ended = set(), 0, False
        self.fragment, self.fragment_end = None, False
        if preface:
            self.raw(PREFACE + frame(SETTINGS, 0, 0, initial))

    def raw(self, data):
        try:
            self.tls.sendall(data)
        except OSError:
            # The server has closed; the reader notes it.
            pass

    def send(self, kind, flags, stream, payload=b""):
        self.raw(frame(kind, flags, stream, payload))

    def request(self, stream=1, fields=None, flags=END_STREAM, extra=(), respond=True):
        """The head of a request. `respond`: the script waits for the end of the response."""
        self.send(HEADERS, flags | END_HEADERS, stream, block([*(fields or REQUEST), *extra]))
        if respond:
            self.awaited.add(stream)

    def upload(self, stream=1, extra=(), respond=False):
        self.request(stream, UPLOAD, 0, extra, respond)

    def finish(self):
        """Waits until the server has read all, has sent the responses, or has closed."""
        self.wait()
        try:
            self.tls.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        while not self.ended:
            self.read_frame()
        self.tls.close()
        return self.outcome()

    def wait(self):
        before = self.pings
        self.send(PING, 0, 0, b"the last")
        while not self.ended and not (self.pings > before and self.awaited <= self.complete()):
            self.read_frame()

    def complete(self):
        return {stream for stream, events in self.streams.items() if events[-1] in ("end", "reset")}

    def outcome(self):
        """Without what is a matter of time: a response beside an error of its stream or connection, or to
        a request whose response the script does not wait for."""
        failed = any(event.startswith("GOAWAY") and "NO_ERROR" not in event for event in self.connection)
        streams = {}
        for stream, events in sorted(self.streams.items()):
            resets = [event for event in events if event.startswith("RST_STREAM") and "NO_ERROR" not in event]
            certain = stream in self.awaited and not failed and not resets
            shown = [event for event in events if not event.startswith("RST_STREAM") and event != "reset"]
            shown = [event for at, event in enumerate(shown) if at == 0 or event != shown[at - 1]]
            if certain or resets:
                streams[stream] = shown if certain else resets
        return {"connection": self.connection, **streams}

    # Receiving

    def fill(self, size):
        while len(self.received) < size:
            try:
                more = self.tls.recv(65536)
            except socket.timeout:
                self.end("no end within the limit")
                return False
            except (OSError, ssl.SSLError):
                # A reset or an end, within a frame or after one: that depends on what the server left unread.
                more = b""
            if not more:
                self.end("end")
                return False
            self.received += more
        return True

    def end(self, event):
        self.ended = True
        self.connection.append(event)

    def read_frame(self):
        if not self.fill(9):
            return
        if self.received[:5] == b"HTTP/":
            return self.end(f"HTTP/1.1: {bytes(self.received[:12]).decode()}")
        length = int.from_bytes(self.received[:3], "big")
        if not self.fill(9 + length):
            return
        kind, flags = self.received[3], self.received[4]
        stream = int.from_bytes(self.received[5:9], "big") & 0x7FFFFFFF
        payload = bytes(self.received[9 : 9 + length])
        del self.received[: 9 + length]
        self.frame(kind, flags, stream, payload)

    def frame(self, kind, flags, stream, payload):
        if kind == SETTINGS:
            self.connection.append("SETTINGS ack" if flags & ACK else f"SETTINGS {payload.hex()}")
            if not flags & ACK:
                self.send(SETTINGS, ACK, 0)
        elif kind == PING:
            self.pings += payload == b"the last"
            if payload != b"the last":
                self.connection.append(f"PING {flags:02x} {payload.hex()}")
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.connection.append(f"GOAWAY {ERRORS[code]} after {last} {payload[8:].decode()}".strip())
        elif kind == WINDOW_UPDATE:
            # Their number and their sizes depend on how the bytes arrive.
            pass
        else:
            self.of_stream(kind, flags, self.streams.setdefault(stream, []), payload)

    def of_stream(self, kind, flags, events, payload):
        if kind == DATA:
            if events and events[-1].startswith("data of "):
                payload += bytes(int(events.pop().split()[2]))
            # The texts of errors are the servers' own.
            events.append(f"data of {len(payload)}" if events == ["status 200"] else "data")
        elif kind == RST_STREAM:
            events += [f"RST_STREAM {ERRORS[int.from_bytes(payload, 'big')]}", "reset"]
        elif kind in (HEADERS, CONTINUATION):
            self.headers(kind, flags, events, payload)
        else:
            events.append(f"frame {kind}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            events.append("end")

    def headers(self, kind, flags, events, payload):
        self.fragment = payload if kind == HEADERS else self.fragment + payload
        if not flags & END_HEADERS:
            return
        try:
            fields = dict(self.decoder.decode(self.fragment))
        except HPACKError as error:
            events.append(f"fields that cannot be decoded: {error}")
            return
        events.append(f"status {fields.get(':status')}")
