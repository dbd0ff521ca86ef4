"""h2spec against the server's HTTP/2, however it came to be: ``make h2spec H2SPEC=FILE``."""
