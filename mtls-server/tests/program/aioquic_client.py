"""One GET over HTTP/3 with aioquic: prints the fields and the body. Arguments: CA, port, path.

A file with the name of the module would be imported in its place.
"""

import asyncio
import sys

try:
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived, HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.ended = asyncio.get_running_loop().create_future()
        self.fields, self.body = [], b""

    def quic_event_received(self, event):
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                self.fields = happened.headers
            if isinstance(happened, DataReceived):
                self.body += happened.data
            if getattr(happened, "stream_ended", False) and not self.ended.done():
                self.ended.set_result(None)

    async def get(self, path):
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path}
        head = [(name.encode(), value.encode()) for name, value in head.items()]
        self.http.send_headers(stream, head, end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.ended, 60)


async def main(ca, port, path):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(ca)
    options = {"configuration": configuration, "create_protocol": Client}
    async with connect("127.0.0.1", port, **options) as client:
        await client.get(path)
    for name, value in client.fields:
        print(f"{name.decode()}: {value.decode()}")
    print()
    print(client.body.decode())


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
