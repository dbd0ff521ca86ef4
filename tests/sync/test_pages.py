"""What the how-to pages show is run, as it stands, against the server they speak of."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import CodeType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks(page: str) -> list[object]:
    found = PYTHON.findall((DOCS / page).read_text(encoding="utf-8"))
    return [pytest.param(block, id=f"{page}-{number}") for number, block in enumerate(found, 1)]


def _run(code: CodeType) -> None:
    awaited = eval(code, {"__name__": "page"})
    if inspect.iscoroutine(awaited):
        asyncio.run(awaited)


@pytest.mark.parametrize(
    "block", [*_blocks("blocking.md"), *_blocks("reconnect.md"), *_blocks("httpx.md")]
)
def test_the_page_runs(block: str, address: str) -> None:
    if "httpx" in block:
        pytest.importorskip("httpx")
    block = block.replace("localhost:8101", address)
    _run(compile(block, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
