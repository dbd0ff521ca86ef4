"""HTTP as values and octets: the HTTP/1.1 connection up to the switch.

Grammar, fields and messages (RFC 9110 §5, §6), and the two machines that read and write
HTTP/1.1 (RFC 9112): ``ServerConnection`` and ``ClientConnection``. Both end with the event
``Switched`` when the connection leaves HTTP/1.1 (RFC 9110 §7.8, §9.3.6). No input or output
happens here, and no clock is read: this room imports nothing but ``switchover.errors``.
"""
