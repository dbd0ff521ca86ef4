"""The only room that touches an event loop.

It holds the drivers that carry octets between transports and the sans-I/O machines, the
streams, the server, the client and the TLS switch (RFC 2817). It decides nothing about a
protocol: whatever needs an ``if`` about a rule belongs to a machine. It may import every
sans-I/O room, and none of ``asgi``, ``proxy``, ``diagnose`` and ``cli``.
"""
