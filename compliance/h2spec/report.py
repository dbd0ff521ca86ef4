"""Reads h2spec's JUnit report, and knows which failures have been looked at and accepted."""

from __future__ import annotations

import fnmatch
import html
import re
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ACCEPTED = Path(__file__).with_name("accepted.toml")
# h2spec writes what it saw into the report as it is, markup or not.
_WORDS = re.compile(r"(<(?:error|failure)>)(.*?)(</(?:error|failure)>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: ``http2/3.5/2`` is the second of RFC 7540 §3.5."""

    name: str
    title: str
    failure: str | None
    skipped: bool


def read_report(path: Path) -> list[Case]:
    """All cases in h2spec's order."""
    text = path.read_text(encoding="utf-8", errors="replace")
    escaped = _WORDS.sub(lambda found: found[1] + html.escape(found[2]) + found[3], text)
    return [
        _case(suite.get("package", ""), number, case)
        for suite in ET.fromstring(escaped).iter("testsuite")
        for number, case in enumerate(suite.iter("testcase"), 1)
    ]


def _case(package: str, number: int, case: ET.Element) -> Case:
    fault = case.find("error") if case.find("failure") is None else case.find("failure")
    failure = None if fault is None else " ".join((fault.text or "failed").split())
    skipped = case.find("skipped") is not None
    return Case(f"{package}/{number}", case.get("classname", ""), failure, skipped)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A failure that is right as it is, for the testees whose names match."""

    testee: str
    case: str
    reason: str


def accepted() -> list[Acceptance]:
    """Read ``accepted.toml``."""
    entries = tomllib.loads(ACCEPTED.read_text(encoding="utf-8")).get("accepted", [])
    return [Acceptance(entry["testee"], entry["case"], entry["reason"]) for entry in entries]


def reason_for(testee: str, case: Case, reasons: list[Acceptance]) -> str | None:
    """Why the failure is accepted, or None."""
    for one in reasons:
        if fnmatch.fnmatchcase(testee, one.testee) and case.name == one.case:
            return one.reason
    return None
