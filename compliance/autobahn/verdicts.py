"""What the suite found, and which findings other than OK have been looked at and accepted."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ACCEPTED = Path(__file__).with_name("accepted.toml")


def case_order(case: str) -> tuple[int, ...]:
    """So that 10.1.1 comes after 9.8.6."""
    return tuple(map(int, case.split(".")))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a case ended with: ``behavior`` of the messages, ``closing`` of the end."""

    case: str
    behavior: str
    closing: str

    @property
    def ok(self) -> bool:
        """Whether there is nothing to explain."""
        return self.behavior == "OK" and self.closing == "OK"

    @property
    def told(self) -> str:
        """The behavior, with the closing where that differs."""
        if self.closing in ("OK", self.behavior):
            return self.behavior
        return f"{self.behavior}, closing {self.closing}"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A verdict that has been looked at: why it is right as it is."""

    side: str
    cases: tuple[str, ...]
    verdict: str
    reason: str

    def covers(self, side: str, verdict: Verdict) -> bool:
        """Whether this is the verdict that was looked at."""
        named = any(fnmatch.fnmatchcase(verdict.case, pattern) for pattern in self.cases)
        return named and self.side in (side, "both") and self.verdict == verdict.told


def accepted() -> list[Acceptance]:
    """Read ``accepted.toml``."""
    entries = tomllib.loads(ACCEPTED.read_text(encoding="utf-8")).get("accepted", [])
    return [
        Acceptance(entry["side"], tuple(entry["cases"]), entry["verdict"], entry["reason"])
        for entry in entries
    ]


def read_index(path: Path) -> list[Verdict]:
    """The verdicts of the one agent in Autobahn's ``index.json``, in the order of the cases."""
    agents = json.loads(path.read_text(encoding="utf-8"))
    (cases,) = agents.values()
    return [
        Verdict(case, cases[case]["behavior"], cases[case]["behaviorClose"])
        for case in sorted(cases, key=case_order)
    ]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One testee's run, judged."""

    name: str
    side: str
    verdicts: list[Verdict]
    expected: int
    explained: list[tuple[Verdict, str]]
    unexplained: list[Verdict]

    @property
    def passed(self) -> bool:
        """Every case ran, and every verdict other than OK has its reason."""
        return not self.unexplained and len(self.verdicts) == self.expected

    def __str__(self) -> str:
        counts = Counter(verdict.told for verdict in self.verdicts)
        listed = ", ".join(f"{count} {told}" for told, count in counts.most_common())
        lines = [f"{self.side} {self.name}: {len(self.verdicts)} of {self.expected} ran: {listed}"]
        for verdict, reason in self.explained:
            lines.append(f"  {verdict.case:<9} {verdict.told}: {reason}")
        for verdict in self.unexplained:
            lines.append(f"  {verdict.case:<9} {verdict.told}  <-- not accepted")
        return "\n".join(lines)


def judge(
    name: str, side: str, verdicts: list[Verdict], expected: int, reasons: list[Acceptance]
) -> Judgement:
    """Sort the verdicts into right, explained and wrong."""
    explained, unexplained = [], []
    for verdict in verdicts:
        if verdict.ok:
            continue
        reason = next((one.reason for one in reasons if one.covers(side, verdict)), None)
        if reason is None:
            unexplained.append(verdict)
        else:
            explained.append((verdict, reason))
    return Judgement(name, side, verdicts, expected, explained, unexplained)
