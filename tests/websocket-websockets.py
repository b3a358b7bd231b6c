#!/usr/bin/env python3
"""The same with Python's websockets:
  websocket-websockets.py http|https PROXY_PORT PROXY_CA CERT KEY BYTES WORD"""
import asyncio, socket, ssl, sys

import websockets

scheme, proxy_port, proxy_ca, cert, key, size, word = sys.argv[1:]
COUNT, LARGE = 10000, b'x' * int(size)
SECURE = scheme == 'https'


async def echo(ws, _=None):
    try:
        async for message in ws:
            await ws.send(message)
    except websockets.ConnectionClosedError as error:
        assert error.code == 4000, error


def tunnel(port):
    """A connection of the proxy's to localhost:port."""
    sock = socket.create_connection(('127.0.0.1', int(proxy_port)))
    sock.sendall(b'CONNECT localhost:%d HTTP/1.1\r\nHost: localhost\r\n\r\n'
                 % port)
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += sock.recv(1)
    assert b' 200 ' in head, head
    return sock


async def main():
    context = client = None
    if SECURE:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        client = ssl.create_default_context(cafile=proxy_ca)
    async with websockets.serve(echo, '127.0.0.1', 0, ssl=context,
                                ping_timeout=None,  # it waits behind them all
                                max_size=8 << 20) as server:
        port = server.sockets[0].getsockname()[1]
        sock = await asyncio.get_running_loop().run_in_executor(
            None, tunnel, port)
        async with websockets.connect(
                '%s://localhost/chat' % ('wss' if SECURE else 'ws'), sock=sock,
                ssl=client, server_hostname='localhost' if SECURE else None,
                ping_timeout=None, max_size=8 << 20) as ws:
            async def speak():
                for i in range(COUNT):
                    await ws.send('message %d' % i)
                await ws.send(LARGE)
                await (await ws.ping())
            work = asyncio.ensure_future(speak())
            for i in range(COUNT):
                got = await ws.recv()
                assert got == '%s %d' % (word, i), got[:80]
            assert await ws.recv() == LARGE
            await work
            await ws.close(4000, 'enough')
            assert ws.close_code == 4000, ws.close_code
    print('good')


asyncio.run(main())
