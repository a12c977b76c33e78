"""The list of conversations, and the words in which they are written."""

from tls13 import *

CASES = []


def case(name):
    """Registers a function of a connected client as a conversation."""
    def register(converse):
        CASES.append((name, lambda where: run(converse, where)))
        return converse
    return register


def run(converse, where):
    client = Client(where)
    client.address = where
    further = converse(client)
    return client.rest() + (further or [])


def hello_case(name, change, **settings):
    """A ClientHello with one change; the handshake is completed if the server agrees."""
    @case(name)
    def converse(client):
        hello = Hello(**settings)
        change(hello)
        client.start(hello)
        if client.finished and client.writer:
            client.complete().encrypted(APPLICATION_DATA, client.get())


def put(kind, body):
    return lambda hello: hello.extensions.__setitem__(kind, body)


def drop(kind):
    return lambda hello: hello.extensions.pop(kind)


def more(*extensions):
    return lambda hello: hello.more.extend(extensions)


def field(name, value):
    return lambda hello: setattr(hello, name, value)


def plain(kind, payload, version=0x0301):
    """The bytes of a record without encryption."""
    return bytes([kind]) + numbers([version]) + vector(2, payload)
