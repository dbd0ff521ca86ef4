"""A print server of ours with one printer on it, as far as the clients of CUPS need one.

``ipp_printer.py CERTIFICATE [required] [advertise]`` switches to TLS for who asks; with
``required`` it serves IPP inside TLS only, with ``advertise`` every answer names TLS. Each exchange
is noted on a line of ``GET /log``: what the connection had been through, the method, the target,
and the operation of IPP (0 for anything else, such as the stream of a radio station).
"""

from __future__ import annotations

import asyncio
import struct
import sys

from switchover.asyncio.exchange import Exchange
from switchover.asyncio.server import Server
from switchover.asyncio.tls import server_context
from switchover.asyncio.tls_upgrade import tls
from switchover.http.fields import Fields
from switchover.http.messages import Response

LOG: list[str] = []
# RFC 8010 §3.5: value tags.
INTEGER, ENUM, BOOLEAN, TEXT, NAME, KEYWORD, URI, CHARSET, LANGUAGE = (
    0x21, 0x23, 0x22, 0x41, 0x42, 0x44, 0x45, 0x47, 0x48,
)  # fmt: skip
OPERATION, PRINTER, END = b"\x01", b"\x04", b"\x03"
GET_PRINTER_ATTRIBUTES, CUPS_GET_DEFAULT, CUPS_GET_PRINTERS = 0x000B, 0x4001, 0x4002


def attribute(tag: int, name: str, value: str | int) -> bytes:
    """One attribute with one value (RFC 8010 §3.1.4)."""
    if tag == BOOLEAN:
        octets = struct.pack(">?", value)
    else:
        octets = struct.pack(">i", value) if isinstance(value, int) else value.encode()
    start = struct.pack(">BH", tag, len(name)) + name.encode()
    return start + struct.pack(">H", len(octets)) + octets


def answer_to(version: bytes, operation: int, request_id: int, port: int) -> bytes:
    """An IPP answer: the printer, or nothing."""
    head = version + struct.pack(">HI", 0x0000, request_id)  # successful-ok
    common = attribute(CHARSET, "attributes-charset", "utf-8") + attribute(
        LANGUAGE, "attributes-natural-language", "en"
    )
    body = b""
    if operation in (GET_PRINTER_ATTRIBUTES, CUPS_GET_DEFAULT, CUPS_GET_PRINTERS):
        uri = f"ipp://localhost:{port}/printers/switchover"
        body = PRINTER + b"".join((
            attribute(URI, "printer-uri-supported", uri),
            attribute(NAME, "printer-name", "switchover"),
            attribute(TEXT, "printer-info", "behind an upgrade"),
            attribute(TEXT, "printer-location", "loopback"),
            attribute(TEXT, "printer-make-and-model", "Switchover"),
            attribute(ENUM, "printer-state", 3),
            attribute(KEYWORD, "printer-state-reasons", "none"),
            attribute(BOOLEAN, "printer-is-accepting-jobs", True),
            attribute(ENUM, "printer-type", 4),
            attribute(URI, "device-uri", "file:///dev/null"),
        ))  # fmt: skip
    return head + OPERATION + common + body + END


async def serve_ipp(exchange: Exchange) -> None:
    """Answer IPP requests, and ``GET /log``."""
    request = exchange.request
    content = b""
    while piece := await exchange.receive_content():
        content += piece
    if request.path == "/log" and request.method == "GET":
        await exchange.send_response(Response.text(200, "\n".join(LOG)), end=True)
        return
    operation, request_id = struct.unpack(">HI", content[2:8]) if len(content) >= 8 else (0, 0)
    chain = ">".join(exchange.facts.chain)
    LOG.append(f"{chain} {request.method} {request.target} {operation:#06x}")
    if not operation:
        await exchange.send_response(Response.text(200, "a printer\n"), end=True)
        return
    port = exchange.facts.sockname[1]
    fields = Fields({"Content-Type": "application/ipp"})
    answer = Response(200, fields, content=answer_to(content[:2], operation, request_id, port))
    await exchange.send_response(answer, end=True)


async def main() -> None:
    """Serve until ended."""
    context = server_context()
    context.load_cert_chain(sys.argv[1])
    required = ["/"] if "required" in sys.argv else []
    advertise = ["TLS/1.2", "HTTP/1.1"] if "advertise" in sys.argv else []
    upgrades = tls(context, required=required)
    async with Server(serve_ipp, upgrades, advertise=advertise) as server:
        await server.start()
        print(f"ready {server.port}\n", flush=True)
        await server.serve_forever()


asyncio.run(main())
