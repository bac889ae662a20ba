"""Sends requests over HTTP/3. Reads a line of JSON with the headers, and prints the status (0 without an answer)."""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.status = asyncio.get_running_loop().create_future()

    def resolve_status(self, status):
        if not self.status.done():
            self.status.set_result(status)

    def quic_event_received(self, event):
        if isinstance(event, (ConnectionTerminated, StreamReset)):
            self.resolve_status(0)
        for event in self.http.handle_event(event):
            if isinstance(event, HeadersReceived):
                self.resolve_status(int(dict(event.headers)[b":status"]))

    async def send_request(self, headers):
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        return await self.status


async def send_request(port, headers):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.verify_mode = ssl.CERT_NONE
    try:
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
            return await client.send_request(headers)
    except (ConnectionError, ValueError):
        return 0


def main():
    port = int(sys.argv[1])
    for line in sys.stdin:
        headers = [(name.encode(), value.encode()) for name, value in json.loads(line)]
        try:
            status = asyncio.run(asyncio.wait_for(send_request(port, headers), 10))
        except TimeoutError:
            status = 0
        print(status, flush=True)


main()
