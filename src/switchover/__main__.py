"""``python -m switchover``."""

from __future__ import annotations

from switchover.cli import main

if __name__ == "__main__":
    main(prog_name="switchover")
