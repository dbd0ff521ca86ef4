"""Write docs/conformance.md: every requirement, and the tests that would fail without it.

Three files go in:

- ``tools/requirements.tsv``: the catalogue; ID, role, level, source, title
- ``tests/**/*.py``: a test cites a requirement by its ID, in its docstring
  (``"MSG-17, RFC 9112 §6.3: …"``), its name (``test_msg_17_…``), the ids of its parameters, or
  the docstring of its class
- ``docs/conformance-notes.toml``: the rows that no test cites, and why

``--check`` writes nothing and fails if the page is not what would be written.
``--missing AREA …`` lists the rows of these areas that are neither cited nor explained.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "tools" / "requirements.tsv"
NOTES = ROOT / "docs" / "conformance-notes.toml"
PAGE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests"

AREAS = {
    "MSG": "HTTP/1.1 messages",
    "UPG-S": "Upgrade, server",
    "UPG-C": "Upgrade, client",
    "UPG-P": "Upgrade, intermediary",
    "WS-H": "WebSocket, opening handshake",
    "WS-F": "WebSocket, framing and messages",
    "WS-C": "WebSocket, closing",
    "WS-D": "WebSocket, permessage-deflate",
    "WS2": "WebSocket over HTTP/2",
    "WS3": "WebSocket over HTTP/3",
    "H2C": "HTTP/2 over cleartext",
    "ALPN": "HTTP/2 by ALPN",
    "H2": "HTTP/2 rules the switch leans on",
    "TLS": "TLS within HTTP/1.1",
    "CON": "CONNECT",
    "UDP": "connect-udp",
    "CAP": "Capsules and HTTP Datagrams",
    "OPT": "Optimistic transitions",
    "SEC": "Security",
}
_ID = re.compile(
    r"(?<![A-Z0-9-])(?:" + "|".join(sorted(AREAS, key=len, reverse=True)) + r")-\d\d(?!\d)"
)
_ID_IN_NAME = re.compile(
    r"(?<![a-z0-9])(" + "|".join(a.replace("-", "_").lower() for a in AREAS) + r")_(\d\d)(?!\d)"
)
_INTRODUCTION = """\
# Conformance

Written by `tools/conformance.py` (`make docs`); edit `docs/conformance-notes.toml` instead.

Each row is a requirement of a standard or, where its level ends in `*`, a stricter policy of
this project. Behind it stand the tests that fail when the rule is broken, or, in italics, what
there is to say about it. *Not yet* is meant literally.

| area | rows | tested | explained | not yet |
| --- | --: | --: | --: | --: |"""
_SHOWN = 4  # tests named in a row of the page; the others are counted


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the catalogue."""

    id: str
    role: str
    level: str
    source: str
    title: str

    @property
    def area(self) -> str:
        """The part of the ID in front of its number."""
        return self.id.rpartition("-")[0]


def read_catalogue(path: Path = CATALOGUE) -> dict[str, Requirement]:
    """Return the requirements by ID, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["id"]: Requirement(**row) for row in rows}


def read_notes(path: Path = NOTES) -> dict[str, str]:
    """Return the reason for each row that no test cites, by ID."""
    notes: dict[str, str] = tomllib.loads(path.read_text(encoding="utf-8")).get("rows", {})
    return notes


def ids_in(text: str) -> list[str]:
    """Return the requirement IDs cited in prose."""
    return _ID.findall(text)


def _tests(nodes: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test"
        ):
            yield node


def _cited(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    cited = set(ids_in(ast.get_docstring(node) or ""))
    for area, number in _ID_IN_NAME.findall(node.name):
        cited.add(f"{area.replace('_', '-').upper()}-{number}")
    for decorator in node.decorator_list:
        for part in ast.walk(decorator):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                cited.update(ids_in(part.value))
    return cited


def citations_in(source: str) -> Iterator[tuple[str, str]]:
    """Yield (ID, name of the test) for one test module. A class lends its IDs to its tests."""
    module = ast.parse(source).body
    for test in _tests(module):
        yield from ((id_, test.name) for id_ in sorted(_cited(test)))
    for node in module:
        if isinstance(node, ast.ClassDef):
            for test in _tests(node.body):
                cited = sorted(_cited(node) | _cited(test))
                yield from ((id_, f"{node.name}::{test.name}") for id_ in cited)


def read_citations(folder: Path = TESTS) -> dict[str, list[str]]:
    """Return the tests that cite each ID, as ``room/test_file.py::test_name``."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for id_, test in citations_in(path.read_text(encoding="utf-8")):
            found.setdefault(id_, []).append(f"{path.relative_to(folder).as_posix()}::{test}")
    return found


def missing(areas: list[str]) -> list[Requirement]:
    """Return the rows of ``areas`` that no test cites and no note explains."""
    cited, notes = read_citations(), read_notes()
    return [
        row
        for row in read_catalogue().values()
        if row.area in areas and row.id not in cited and row.id not in notes
    ]


def _evidence(id_: str, citations: dict[str, list[str]], notes: dict[str, str]) -> str:
    tests = citations.get(id_, [])
    parts = [f"`{test}`" for test in tests[:_SHOWN]]
    if len(tests) > _SHOWN:
        parts.append(f"and {len(tests) - _SHOWN} more")
    if id_ in notes:
        parts.append(f"*{notes[id_].strip()}*")
    return "<br>".join(parts) or "not yet"


def render() -> str:
    """Return the page as it should be."""
    catalogue, citations, notes = read_catalogue(), read_citations(), read_notes()
    lines = [_INTRODUCTION]
    for area, name in AREAS.items():
        ids = [row.id for row in catalogue.values() if row.area == area]
        tested = sum(id_ in citations for id_ in ids)
        told = sum(id_ in notes and id_ not in citations for id_ in ids)
        rest = len(ids) - tested - told
        lines.append(
            f"| [{area}](#{area.lower()}) {name} | {len(ids)} | {tested} | {told} | {rest} |"
        )
    for area, name in AREAS.items():
        lines += ["", f"## {area}", "", f"{name}.", ""]
        lines += ["| ID | role | level | source | requirement | tests |", "| --- " * 6 + "|"]
        lines += [
            f"| {row.id} | {row.role} | {row.level} | {row.source} | {row.title} "
            f"| {_evidence(row.id, citations, notes)} |"
            for row in catalogue.values()
            if row.area == area
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run from the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write docs/conformance.md.")
    parser.add_argument("--check", action="store_true", help="only compare; fail if it is stale")
    parser.add_argument("--missing", nargs="+", metavar="AREA", choices=list(AREAS))
    options = parser.parse_args()
    if options.missing:
        rows = missing(options.missing)
        for row in rows:
            print(f"{row.id}\t{row.level}\t{row.source}\t{row.title}")
        return 1 if rows else 0
    page = render()
    if options.check:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
