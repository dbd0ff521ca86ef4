"""What a server, a hop or a client really does with an offer, and why.

It asks with the sans-I/O machines over connections that record their octets, and says what
it saw. It may import the sans-I/O rooms and ``asyncio``; not ``asgi``, ``proxy`` or ``cli``.
"""
