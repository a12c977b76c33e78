"""A TLS 1.3 client whose every byte the caller chooses. It records what the server sends.

The cryptography is that of tlslite-ng; the messages are built here, so that they can be wrong.
"""

import os
import re
import socket
import struct

from tlslite.keyexchange import ECDHKeyExchange
from tlslite.utils.cipherfactory import createAESGCM, createCHACHA20
from tlslite.utils.cryptomath import HKDF_expand_label, secureHash, secureHMAC

# Longer than the server waits for anything but a request.
LIMIT = 20

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CONTENT = {20: "ccs", 21: "alert", 22: "handshake", 23: "data"}
MESSAGES = {
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    20: "Finished",
    22: "CertificateStatus",
    24: "KeyUpdate",
}
# The `random` of a HelloRetryRequest (RFC 8446, 4.1.3).
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

AES_128, AES_256, CHACHA = 0x1301, 0x1302, 0x1303
X25519, P256, P384, P521 = 29, 23, 24, 25
SIGNATURES = [0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601]
(
    SERVER_NAME,
    GROUPS,
    SIGNATURE_ALGORITHMS,
    ALPN,
    EARLY_DATA,
    VERSIONS,
    COOKIE,
    PSK_MODES,
    PRE_SHARED_KEY,
    KEY_SHARE,
) = (0, 10, 13, 16, 42, 43, 44, 45, 41, 51)


def vector(size, data):
    return len(data).to_bytes(size, "big") + bytes(data)


def numbers(values):
    return b"".join(value.to_bytes(2, "big") for value in values)


def message(kind, body):
    return bytes([kind]) + vector(3, body)


class KeyShare:
    """An ephemeral key of one group."""

    def __init__(self, group):
        self.group = group
        self.exchange = ECDHKeyExchange(group, (3, 4))
        self.private = self.exchange.get_random_private_key()
        self.public = bytes(self.exchange.calc_public_value(self.private))

    def entry(self):
        return numbers([self.group]) + vector(2, self.public)

    def shared(self, public):
        return self.exchange.calc_shared_key(self.private, bytearray(public))


class Hello:
    """A ClientHello. `extensions` is a dictionary in the order of sending, and may be changed."""

    def __init__(
        self, suites=(AES_128, AES_256, CHACHA), shares=(X25519,), groups=(X25519, P256, P384), alpn=(b"http/1.1",)
    ):
        self.version = 0x0303
        self.random = os.urandom(32)
        self.session = os.urandom(32)
        self.suites = numbers(suites)
        self.compression = b"\0"
        self.keys = {group: KeyShare(group) for group in shares}
        self.extensions = {
            SERVER_NAME: vector(2, b"\0" + vector(2, b"localhost")),
            GROUPS: vector(2, numbers(groups)),
            SIGNATURE_ALGORITHMS: vector(2, numbers(SIGNATURES)),
            ALPN: vector(2, b"".join(vector(1, name) for name in alpn)),
            VERSIONS: vector(1, numbers([0x0304])),
            PSK_MODES: vector(1, b"\1"),
            KEY_SHARE: vector(2, b"".join(key.entry() for key in self.keys.values())),
        }
        # Extensions after the others, which may repeat them.
        self.more = []

    def body(self):
        extensions = [*self.extensions.items(), *self.more]
        block = b"".join(numbers([kind]) + vector(2, body) for kind, body in extensions)
        return (
            self.version.to_bytes(2, "big")
            + self.random
            + vector(1, self.session)
            + vector(2, self.suites)
            + vector(1, self.compression)
            + vector(2, block)
        )

    def encode(self):
        return message(1, self.body())


class Keys:
    """The keys of one direction."""

    def __init__(self, secret, suite):
        self.secret, self.suite, self.number = secret, suite, 0
        length = 16 if suite == AES_128 else 32
        key = HKDF_expand_label(secret, b"key", b"", length, digest(suite))
        self.iv = HKDF_expand_label(secret, b"iv", b"", 12, digest(suite))
        create = createCHACHA20 if suite == CHACHA else createAESGCM
        self.cipher = create(key, ["pycrypto", "python"])

    def nonce(self):
        counter = bytearray(4) + bytearray(self.number.to_bytes(8, "big"))
        self.number += 1
        return bytearray(one ^ other for one, other in zip(self.iv, counter))

    def next(self):
        size = len(self.secret)
        return Keys(HKDF_expand_label(self.secret, b"traffic upd", b"", size, digest(self.suite)), self.suite)


def digest(suite):
    return "sha384" if suite == AES_256 else "sha256"


class Client:
    """One connection. `events` is what the server did, without what differs from run to run."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.events, self.received, self.data = [], bytearray(), bytearray()
        self.transcript = b""
        self.hello = None
        self.suite = self.handshake_secret = None
        self.writer = self.reader = None
        self.ended = self.closed = self.requested = False
        self.tickets = []
        self.early_secret = self.application = self.resumption = None

    # Sending

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            # The server has closed; the reader notes it.
            pass

    def record(self, kind, payload, version=0x0303):
        self.raw(bytes([kind]) + numbers([version]) + vector(2, payload))

    def seal(self, kind, payload, padding=0, keys=None):
        """The bytes of an encrypted record."""
        inner = bytes(payload) + (b"" if kind is None else bytes([kind])) + bytes(padding)
        return self.seal_inner(inner, keys)

    def seal_inner(self, inner, keys=None):
        keys = keys or self.writer
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return head + bytes(keys.cipher.seal(keys.nonce(), bytearray(inner), bytearray(head)))

    def encrypted(self, kind, payload, padding=0):
        self.raw(self.seal(kind, payload, padding))

    def send_hello(self, hello, version=0x0301):
        encoded = hello.encode()
        self.note_hello(hello, encoded)
        self.record(HANDSHAKE, encoded, version)

    def note_hello(self, hello, encoded):
        self.hello = hello
        self.transcript += encoded

    def get(self, close=True):
        """A request, which the caller sends: the server ends the connection after the response."""
        self.requested |= close
        connection = b"close" if close else b"keep-alive"
        return b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: " + connection + b"\r\n\r\n"

    # The handshake

    def start(self, hello=None):
        """Up to the server's Finished."""
        self.send_hello(hello or Hello())
        self.read_until(lambda: self.finished or self.retried)
        return self

    @property
    def finished(self):
        return any("Finished" in event for event in self.events)

    @property
    def retried(self):
        return any("HelloRetryRequest" in event for event in self.events)

    def client_finished(self, change=lambda verify: verify):
        size = len(self.writer.secret)
        key = HKDF_expand_label(self.writer.secret, b"finished", b"", size, digest(self.suite))
        verify = secureHMAC(key, secureHash(bytearray(self.transcript), digest(self.suite)), digest(self.suite))
        return message(20, change(bytes(verify)))

    def complete(self):
        """Sends Finished, and takes the keys for application data."""
        self.application_keys()
        finished = self.client_finished()
        self.encrypted(HANDSHAKE, finished)
        self.use_application_keys(finished)
        return self

    def connect(self, hello=None):
        return self.start(hello).complete()

    def application_keys(self):
        size = len(self.writer.secret)
        derived = self.derive(self.handshake_secret, b"derived", b"")
        self.master = secureHMAC(derived, bytearray(size), digest(self.suite))
        self.application = [
            self.derive(self.master, label, self.transcript) for label in (b"c ap traffic", b"s ap traffic")
        ]

    def use_application_keys(self, finished):
        self.resumption = self.derive(self.master, b"res master", self.transcript + finished)
        self.writer, self.reader = (Keys(secret, self.suite) for secret in self.application)

    def derive(self, secret, label, transcript):
        name = digest(self.suite)
        hashed = secureHash(bytearray(transcript), name)
        return HKDF_expand_label(bytearray(secret), label, hashed, len(hashed), name)

    # Receiving

    def read_until(self, done):
        while not done() and not self.ended:
            self.read_record()

    def rest(self):
        """Reads to the end, and returns the events. A server that has no request gets an end first."""
        if self.closed:
            return self.events
        self.closed = True
        try:
            if not self.requested:
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.read_until(lambda: False)
        self.socket.close()
        if self.data:
            self.events.append(http(bytes(self.data)))
        return self.events

    def fill(self, size):
        while len(self.received) < size:
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                self.end("no end within the limit")
                return False
            except OSError:
                # A reset or an end: which one depends on whether unread bytes were left.
                more = b""
            if not more:
                self.end("end" if not self.received else f"end within a record, {len(self.received)} bytes")
                return False
            self.received += more
        return True

    def end(self, event):
        self.ended = True
        self.events.append(event)

    def read_record(self):
        if not self.fill(5):
            return
        kind, version, length = struct.unpack(">BHH", self.received[:5])
        if kind not in CONTENT or not self.fill(5 + length):
            if not self.ended:
                self.end(f"no record: {bytes(self.received[:16]).hex()}")
            return
        head, payload = bytes(self.received[:5]), bytes(self.received[5 : 5 + length])
        del self.received[: 5 + length]
        if kind == APPLICATION_DATA and self.reader:
            kind, payload = self.open(head, payload)
        self.content(kind, version, payload)

    def open(self, head, payload):
        opened = self.reader.cipher.open(self.reader.nonce(), bytearray(payload), bytearray(head))
        if opened is None and self.application and not self.resumption:
            # The server has sent its Finished, and goes on with the next keys.
            self.reader = Keys(self.application[1], self.suite)
            opened = self.reader.cipher.open(self.reader.nonce(), bytearray(payload), bytearray(head))
        if opened is None:
            return None, payload
        inner = bytes(opened).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def content(self, kind, version, payload):
        if kind == HANDSHAKE:
            self.handshake(version, payload)
        elif kind == ALERT:
            self.events.append(f"alert {payload.hex()}")
        elif kind == APPLICATION_DATA and self.reader:
            self.data += payload
        elif kind in CONTENT:
            self.events.append(f"{CONTENT[kind]} {payload.hex() if len(payload) < 8 else ''}".strip())
        else:
            self.events.append("a record that does not decrypt")

    def handshake(self, version, payload):
        described = []
        while payload:
            kind, length = payload[0], int.from_bytes(payload[1:4], "big")
            whole, payload = payload[: 4 + length], payload[4 + length :]
            described.append(self.describe(kind, whole))
        self.events.append(f"{version:04x} " + ", ".join(described))

    def describe(self, kind, whole):
        name, body = MESSAGES.get(kind, f"message {kind}"), whole[4:]
        if kind == 2:
            return self.server_hello(whole)
        if kind == 4:
            self.tickets.append(body)
            return f"{name} of {len(body)} bytes"
        if kind not in (24, 4):
            self.transcript += whole
        if kind == 24:
            self.reader = self.reader.next()
        if kind == 8:
            return f"{name} {body.hex()}"
        # The length of an ECDSA signature varies.
        return f"{name} {body[:2].hex()}" if kind in (15, 12) else f"{name} of {len(body)} bytes"

    def server_hello(self, whole):
        body = whole[4:]
        session = body[35 : 35 + body[34]]
        at = 35 + len(session)
        self.suite = int.from_bytes(body[at : at + 2], "big")
        extensions = dict(parse_extensions(body[at + 3 :]))
        echoed = "echoed" if self.hello and session == self.hello.session else f"of {len(session)} bytes"
        shown = [
            f"{kind}={value.hex() if kind != KEY_SHARE else value[:4].hex()}" for kind, value in extensions.items()
        ]
        name = "HelloRetryRequest" if body[2:34] == RETRY else "ServerHello"
        described = (
            f"{name} {body[:2].hex()} {body[26:34].hex() if body[26:30] == b'DOWN' else ''}"
            f" {self.suite:04x} session {echoed} {' '.join(shown)}"
        )
        if name == "HelloRetryRequest":
            hashed = bytes(secureHash(bytearray(self.transcript), digest(self.suite)))
            self.transcript = message(254, hashed) + whole
        else:
            self.transcript += whole
            if VERSIONS in extensions:
                self.handshake_keys(extensions)
        return described

    def handshake_keys(self, extensions):
        share = extensions.get(KEY_SHARE)
        key = self.hello and self.hello.keys.get(int.from_bytes(share[:2], "big")) if share else None
        size = 48 if self.suite == AES_256 else 32
        if share and not key:
            return
        secret = self.early_secret if PRE_SHARED_KEY in extensions else None
        early = secret or secureHMAC(bytearray(size), bytearray(size), digest(self.suite))
        shared = key.shared(share[4:]) if share else bytearray(size)
        self.handshake_secret = secureHMAC(self.derive(early, b"derived", b""), shared, digest(self.suite))
        client, server = (
            self.derive(self.handshake_secret, label, self.transcript)
            for label in (b"c hs traffic", b"s hs traffic")
        )
        self.writer, self.reader = Keys(client, self.suite), Keys(server, self.suite)


def parse_extensions(block):
    block = block[2:]
    while block:
        kind, length = struct.unpack(">HH", block[:4])
        yield kind, block[4 : 4 + length]
        block = block[4 + length :]


def http(data):
    """The statuses alone: the fields and the bodies are not those of TLS."""
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", data)
    return f"HTTP {b', '.join(statuses).decode()}" if statuses else f"{len(data)} bytes of data"
