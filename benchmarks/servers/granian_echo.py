"""granian, one worker process; it binds by port, so one is picked beforehand."""

from __future__ import annotations

import socket
import threading
import time

import listening
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def announce_when_up(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            listening.announce(port)
            return


def main() -> None:
    settings = listening.read_settings()
    listening.refuse(settings)
    port = free_port()
    threading.Thread(target=announce_when_up, args=(port,), daemon=True).start()
    Granian(
        f"asgi_apps:{settings.app}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        loop=Loops(settings.loop),
        websockets=True,
        backlog=listening.BACKLOG,
        log_level=LogLevels.error,
        log_access=False,
    ).serve()


if __name__ == "__main__":
    main()
