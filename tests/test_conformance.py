"""The table of requirements and tests says what is so."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Areas where every row is cited by a test or explained. An area joins when its room is complete,
# and does not leave again.
COMPLETE = [
    *("MSG", "UPG-S", "UPG-C", "UPG-P", "WS-H", "WS-F", "WS-C", "WS-D", "WS2", "WS3"),
    *("H2C", "ALPN", "H2", "TLS", "CON", "UDP", "CAP", "OPT", "SEC"),
]
FIRST_RELEASE = {"MSG", "UPG-S", "UPG-C", "WS-H", "WS-F", "WS-C"}


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    """The generator, from tools/, which is no package."""
    path = ROOT / "tools" / "conformance.py"
    spec = importlib.util.spec_from_file_location("conformance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["conformance"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_every_row_of_the_catalogue_is_whole(conformance: ModuleType) -> None:
    for row in conformance.read_catalogue().values():
        assert row.area in conformance.AREAS, row
        assert row.role in {"both", "client", "intermediary", "server"}, row
        assert row.level.rstrip("*") in {"MUST", "SHOULD", "MAY"}, row
        assert row.source, row
        assert 0 < len(row.title) <= 112, row


def test_every_citation_is_a_row_of_the_catalogue(conformance: ModuleType) -> None:
    unknown = conformance.read_citations().keys() - conformance.read_catalogue().keys()
    assert not unknown


def test_every_note_is_about_a_row_and_says_something(conformance: ModuleType) -> None:
    notes = conformance.read_notes()
    assert not notes.keys() - conformance.read_catalogue().keys()
    assert all(isinstance(note, str) and len(note.split()) >= 4 for note in notes.values())


def test_every_row_of_a_complete_area_is_cited_or_explained(conformance: ModuleType) -> None:
    assert not [row.id for row in conformance.missing(COMPLETE)]


@pytest.mark.skipif(
    not set(COMPLETE) >= FIRST_RELEASE,
    reason="the page changes with every commit until the first rooms are complete",
)
def test_the_page_is_what_would_be_written(conformance: ModuleType) -> None:
    assert conformance.PAGE.read_text(encoding="utf-8") == conformance.render(), "make docs"


def test_citations_are_found_where_tests_put_them(conformance: ModuleType) -> None:
    source = '''
"""MSG-01 in the docstring of a module cites nothing: no test would fail for it."""
class TestX:
    """WS-F-02: lent to each test of the class."""
    def test_one(self): "UPG-S-12, RFC 9110 §7.8: and its own"
    def helper(self): "MSG-02"
@pytest.mark.parametrize("x", [pytest.param(1, id="H2-03"), pytest.param(2, id="H2C-04")])
async def test_msg_17_two(x): "SEC-05 and SEC-06; but neither SEC-123 nor XSEC-07"
def helper(): "MSG-03"
'''
    assert list(conformance.citations_in(source)) == [
        ("H2-03", "test_msg_17_two"),
        ("H2C-04", "test_msg_17_two"),
        ("MSG-17", "test_msg_17_two"),
        ("SEC-05", "test_msg_17_two"),
        ("SEC-06", "test_msg_17_two"),
        ("UPG-S-12", "TestX::test_one"),
        ("WS-F-02", "TestX::test_one"),
    ]
