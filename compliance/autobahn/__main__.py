"""``python -m compliance.autobahn``: every case OK, or accepted with a written reason.

    AUTOBAHN=DIR python -m compliance.autobahn            both ends, compiled and pure, all cases
    … --quick                                             sections 1 to 7 and 10: some 15 s each
    … --only aiohttp                                      a peer, to prove the runner

AUTOBAHN is the folder that holds the package ``autobahntestsuite``; AUTOBAHN_PYTHON an interpreter
that has ``autobahn``, ``twisted``, ``jinja2`` and ``pyopenssl``, if this one has not.
Exit code 0: all right; 1: a verdict that is not accepted, or a case that did not run; 2: the suite
could not be run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from compliance.autobahn.suite import Suite, sections
from compliance.autobahn.testees import CLIENTS, SERVERS
from compliance.autobahn.verdicts import Judgement, accepted, judge
from compliance.testee import Testee

QUICK = ["1-7", "10"]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compliance.autobahn", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="sections 1 to 7 and 10 only")
    parser.add_argument("--cases", nargs="+", help="sections (1-7), or patterns such as 9.1.*")
    parser.add_argument("--side", choices=["server", "client", "both"], default="both")
    parser.add_argument("--only", nargs="+", help="names of those to test; ours by default")
    parser.add_argument("--reports", type=Path, help="keep Autobahn's own reports here")
    return parser.parse_args(argv)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Testee]]:
    for side, testees in (("server", SERVERS), ("client", CLIENTS)):
        for testee in testees:
            wanted = testee.name in options.only if options.only else testee.ours
            if wanted and options.side in (side, "both"):
                yield side, testee


def run_suite(suite: Suite, options: argparse.Namespace) -> list[Judgement]:
    reasons, judgements = accepted(), []
    for side, testee in chosen(options):
        print(f"… {side} {testee.name}", file=sys.stderr, flush=True)
        found = suite.servers(testee) if side == "server" else suite.clients(testee)
        judgements.append(judge(testee.name, side, *found, reasons if testee.ours else []))
        print(judgements[-1], flush=True)
    return judgements


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    folder = Path(os.environ.get("AUTOBAHN", ""))
    if not (folder / "autobahntestsuite").is_dir():
        print(
            "AUTOBAHN must name the folder that holds the package autobahntestsuite",
            file=sys.stderr,
        )
        return 2
    python = os.environ.get("AUTOBAHN_PYTHON", sys.executable)
    cases = sections(options.cases or (QUICK if options.quick else ["*"]))
    with tempfile.TemporaryDirectory() as scratch:
        suite = Suite(folder.resolve(), python, cases, (options.reports or Path(scratch)).resolve())
        try:
            judgements = run_suite(suite, options)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 2
    return 0 if judgements and all(one.passed for one in judgements) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are ended on the way out
    sys.exit(main())
