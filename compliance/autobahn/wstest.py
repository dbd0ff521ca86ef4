"""Starts Autobahn's ``wstest`` with two faults of its Python 3 port mended from outside.

Run by an interpreter that has ``autobahn`` and ``twisted``, with the folder of the package
``autobahntestsuite`` on ``PYTHONPATH``. What is changed before it starts:

- a case report may hold octets, which ``json`` refuses: they are written as hexadecimal digits;
- a report that fails leaves the reactor running for ever: the failure is shown, and it stops;
- the fuzzing server listens on loopback, not on every interface;
- a case may be named with all below it (``6.4``), and one that there is not ends the run at once.

The pages in HTML are left out: verdicts are read from the JSON.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import sys
import traceback
import types
from typing import Any

from autobahntestsuite import caseset, fuzzing, wstest


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    return str(value)


def _dumps(value: Any, **options: Any) -> str:
    options["default"] = _plain
    options["skipkeys"] = True
    return json.dumps(value, **options)


def _reports(factory: Any, *_: object, **__: object) -> None:
    try:
        _original_reports(factory, produceHtml=False, produceJson=True)
    except Exception:  # noqa: BLE001  # whatever it is, the reactor must stop
        traceback.print_exc()


def _cases(case_set: Any, patterns: list[str]) -> list[str]:
    def named(case: str) -> bool:
        return any(
            case == pattern or case.startswith(f"{pattern}.") or fnmatch.fnmatchcase(case, pattern)
            for pattern in patterns
        )

    found = [case for case in case_set.CasesIndices if named(case)]
    if patterns and not found:
        sys.exit(f"no case is named by {patterns}")
    return found


caseset.CaseSet.resolveCasePatternList = _cases
_original_reports = fuzzing.FuzzingFactory.createReports
fuzzing.FuzzingFactory.createReports = _reports
fuzzing.json = types.SimpleNamespace(dumps=_dumps, loads=json.loads)
fuzzing.listenWS = functools.partial(fuzzing.listenWS, interface="127.0.0.1")

if __name__ == "__main__":
    sys.argv[0] = "wstest"
    wstest.run()
