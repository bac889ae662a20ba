"""Relays TCP connections, and inserts a cookie into the first request of each connection.

Autobahn's clients cannot send a cookie. Usage: insert_cookie.py LISTEN-PORT TARGET-PORT HOST COOKIE
"""

import asyncio
import sys

listen_port, target_port, host, cookie = sys.argv[1:]


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()


async def serve(reader, writer):
    upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", int(target_port))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        # The script has only tested whether the port is open.
        upstream_writer.close()
        writer.close()
        return
    lines = [it for it in head.split(b"\r\n") if not it.lower().startswith(b"host:")]
    lines[1:1] = [f"Host: {host}".encode(), f"Cookie: {cookie}".encode()]
    upstream_writer.write(b"\r\n".join(lines))
    await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))
    for it in (writer, upstream_writer):
        it.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(listen_port))
    await server.serve_forever()


asyncio.run(main())
