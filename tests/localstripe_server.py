"""localstripe on a free port of this machine, which it prints; a program of its own.

Its own command keeps its store in one file for the whole machine, and wants
IPv6. With ``--with-updated`` its products have the field that Stripe's schema
requires of them and that it leaves out. Nothing else of it is changed.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from aiohttp import web
from localstripe.resources import Product, Store
from localstripe.server import app


async def main() -> None:
    Store.dump_to_disk = lambda _store: None
    if "--with-updated" in sys.argv:
        Product.updated = property(lambda product: product.created)
    listener = socket.create_server(("127.0.0.1", 0))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
