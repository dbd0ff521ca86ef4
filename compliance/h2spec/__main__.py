"""``python -m compliance.h2spec``: every case passed, or its failure accepted with a reason.

    H2SPEC=FILE python -m compliance.h2spec               ours: prior knowledge, Upgrade, TLS, pure
    … --only hypercorn hypercorn-upgrade                    a peer, to prove the runner
    … --spec http2/5.1 hpack                              some sections only

Exit code 0: all right; 1: a failure that is not accepted; 2: the suite could not be run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from compliance.h2spec.report import Case, accepted, read_report, reason_for
from compliance.testee import PURE, SERVE, RunningServer, Testee

SUITE_SECONDS = 1200
SHOWN = 30  # failures of one testee; where all fail, one cause has them all
PATH = "/plain"


@dataclass(frozen=True, slots=True)
class Way:
    """How h2spec comes to speak HTTP/2 with a server."""

    testee: Testee
    upgrade: bool = False
    tls: bool = False
    path: str = "/"


_HYPERCORN = (sys.executable, str(Path(__file__).with_name("hypercorn_server.py")))
_TLS = ("--tls-bind", "127.0.0.1:0")
WAYS = (
    Way(Testee("switchover", SERVE, ours=True), path=PATH),
    Way(Testee("switchover-upgrade", SERVE, ours=True), upgrade=True, path=PATH),
    Way(Testee("switchover-tls", (*SERVE, *_TLS), ours=True), tls=True, path=PATH),
    Way(Testee("switchover-pure", SERVE, environment=PURE, ours=True), path=PATH),
    Way(Testee("hypercorn", _HYPERCORN)),
    Way(Testee("hypercorn-upgrade", _HYPERCORN), upgrade=True),
)


def run_way(program: str, way: Way, sections: Sequence[str]) -> list[Case]:
    """Run h2spec one way and return its cases."""
    with ExitStack() as stack:
        server = RunningServer(way.testee.command, way.testee.surroundings(), tls=way.tls)
        port = stack.enter_context(server).port
        if way.upgrade:
            shim = (sys.executable, "-m", "compliance.h2spec.shim", str(port))
            port = stack.enter_context(RunningServer(shim, dict(os.environ))).port
        report = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "report.xml"
        command = [program, "-h", "127.0.0.1", "-p", str(port), "-P", way.path, "-j", str(report)]
        if way.tls:
            command += ["-t", "-k"]
        subprocess.run(
            [*command, *sections],
            timeout=SUITE_SECONDS,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return read_report(report) if report.exists() else []


def told(name: str, cases: list[Case], *, ours: bool) -> bool:
    """Print what was found; True if it is all right."""
    reasons = accepted() if ours else []
    failed = [case for case in cases if case.failure is not None]
    skipped = sum(case.skipped for case in cases)
    passed = len(cases) - len(failed) - skipped
    print(f"{name}: {passed} of {len(cases)} passed, {skipped} skipped, {len(failed)} failed")
    explained = {case: reason_for(name, case, reasons) for case in failed}
    for case in failed[:SHOWN]:
        reason = explained[case] or f"{case.failure}  <-- not accepted"
        print(f"  {case.name}  {case.title}: {reason}")
    if len(failed) > SHOWN:
        print(f"  and {len(failed) - SHOWN} more")
    sys.stdout.flush()
    return bool(cases) and all(explained.values())


def chosen(only: Sequence[str] | None) -> Iterator[Way]:
    for way in WAYS:
        if way.testee.name in only if only else way.testee.ours:
            yield way


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m compliance.h2spec", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", help="names of those to test; ours by default")
    parser.add_argument("--spec", nargs="+", default=[], help="sections, as h2spec names them")
    options = parser.parse_args(argv)
    program = shutil.which(os.environ.get("H2SPEC", "h2spec"))
    if program is None:
        print("H2SPEC must name the h2spec program", file=sys.stderr)
        return 2
    right = []
    for way in chosen(options.only):
        try:
            cases = run_way(program, way, options.spec)
        except RuntimeError as error:
            print(f"{way.testee.name}: {error}", file=sys.stderr)
            return 2
        right.append(told(way.testee.name, cases, ours=way.testee.ours))
    return 0 if right and all(right) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are ended on the way out
    sys.exit(main())
