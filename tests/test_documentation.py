"""What the pages say can be done: their links lead somewhere, their code names what exists."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from pathlib import Path

import click
import pytest

import switchover
from switchover.cli.main import main as commands
from switchover.cli.serve import demonstration_server

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Behind this mark stands a program: it runs as it is, against the demonstration server.
COMPLETE = re.compile(r"^<!-- complete -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Of a machine, not of the project: a page, a test or a comment that names one helps nobody else.
FOREIGN = re.compile(r"/(?:home|root|work|Users)/\w")


def each_page() -> list[object]:
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES]


def python_blocks(page: Path) -> list[ast.Module]:
    """The page's Python, parsed; ``async with`` may stand at the top level."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    text = page.read_text(encoding="utf-8")
    return [compile(block, str(page), "exec", flags) for block in PYTHON.findall(text)]


@pytest.mark.parametrize("page", each_page())
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", each_page())
def test_code_names_what_exists(page: Path) -> None:
    if page.name == "api.md":
        pytest.skip("signatures, written from the code itself")
    if not hasattr(switchover, "__all__"):
        pytest.skip("the façade is not built yet")
    named = {
        node.attr
        for block in python_blocks(page)
        for node in ast.walk(block)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "switchover"
    }
    assert not [name for name in named if not hasattr(switchover, name)]


@pytest.mark.parametrize("page", each_page())
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    named = {
        *re.findall(r"`(?:\w+=\S+ )*make ([a-z0-9]+)[^`\n]*`", text),
        *re.findall(r"\bmake ([a-z0-9]+)", shell),
    }
    assert named <= targets


@pytest.mark.parametrize("page", each_page())
def test_no_page_names_a_place_on_one_machine(page: Path) -> None:
    assert not FOREIGN.findall(page.read_text(encoding="utf-8"))


def complete_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
        for page in PAGES
        for number, block in enumerate(COMPLETE.findall(page.read_text(encoding="utf-8")), 1)
    ]


@pytest.mark.parametrize("block", complete_blocks())
def test_complete_code_runs(block: str) -> None:
    """With the demonstration server where it says so; a server is stopped once it serves."""
    code = re.sub(r"(start\(\"127\.0\.0\.1\", )\d+", r"\g<1>0", block)
    code = code.replace("await server.serve_forever()", "assert server.port")

    async def run() -> None:
        async with demonstration_server() as server:
            await server.start()
            text = code.replace("localhost:8101", f"127.0.0.1:{server.port}")
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            result = eval(compile(text, "page", "exec", flags), {"__name__": "page"})
            if inspect.iscoroutine(result):
                await asyncio.wait_for(result, 20)

    with contextlib.redirect_stdout(io.StringIO()):
        asyncio.run(run())


def test_most_how_to_pages_are_run() -> None:
    """A page whose code nobody runs is wrong before long."""
    assert len(complete_blocks()) >= 20


@pytest.mark.parametrize("command", sorted(commands.commands))
def test_the_command_line_page_names_every_option(command: str) -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {command}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    for option in commands.commands[command].params:
        if isinstance(option, click.Option):
            assert f"`{option.opts[0]}" in section, option.opts
