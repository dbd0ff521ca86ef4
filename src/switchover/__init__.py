"""switchover: the HTTP protocol-upgrade mechanism, whole."""

__version__ = "0.1.0"
