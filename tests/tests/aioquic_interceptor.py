"""A man in the middle of QUIC with aioquic: its server and its client back to back.

Arguments: certificate and key of the attacker, CA of the real server, address to listen at, address of the real
server, its name, ALPN. Prints `listening`, and then for each victim `complete` after the handshake, `read HEX` for each piece of
its application data, and `closed`.
"""

import asyncio
import sys

try:
    from aioquic.asyncio import QuicConnectionProtocol, connect, serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)


def report(*words):
    print(*words, flush=True)


class ToServer(QuicConnectionProtocol):
    """The attacker's connection to the real server: passes the replies back."""

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.victim.pass_on(event)


class Victim(QuicConnectionProtocol):
    """A victim's connection: passes its data to the real server."""

    server = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiting = asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            report("complete")
            self.task = asyncio.ensure_future(self.run())
            # An error in it is reported on standard error.
            self.task.add_done_callback(lambda task: task.result())
        if isinstance(event, StreamDataReceived):
            report("read", event.data.hex())
            self.waiting.put_nowait(event)
        if isinstance(event, ConnectionTerminated):
            report("closed")
            self.waiting.put_nowait(None)

    async def run(self):
        host, port, options = Victim.server
        async with connect(host, port, **options) as server:
            server.victim = self
            while (event := await self.waiting.get()) is not None:
                server._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
                server.transmit()

    def pass_on(self, event):
        self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
        self.transmit()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


async def main(chain, key, ca, at, server, name, alpn):
    front = QuicConfiguration(is_client=False, alpn_protocols=[alpn])
    front.load_cert_chain(chain, key)
    back = QuicConfiguration(is_client=True, alpn_protocols=[alpn], server_name=name)
    back.load_verify_locations(ca)
    Victim.server = *address(server), {"configuration": back, "create_protocol": ToServer}
    await serve(*address(at), configuration=front, create_protocol=Victim)
    report("listening")
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
