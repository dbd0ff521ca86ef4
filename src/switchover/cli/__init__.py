"""The command line: one file a command.

It knows no protocol: each command puts together what the library offers, shows what came of
it, and exits with a code that scripts can use. It may import every other room; none may
import it.
"""

from __future__ import annotations

from switchover.cli.main import main

__all__ = ["main"]
