"""Write docs/reference/api.md: each name that ``import switchover`` offers, from its docstring.

``--check`` writes nothing and fails if the page is not what would be written.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# The compiled classes do not tell their signatures.
os.environ["SWITCHOVER_PURE_PYTHON"] = "1"

import switchover

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "api.md"
_INTRODUCTION = """\
# Reference

Written by `tools/reference.py` (`make docs`) from the docstrings.
Everything here is imported from `switchover`.
"""


class _Unreadable:
    """Stands for a default without a text of its own."""

    def __repr__(self) -> str:
        return "…"


def _signature(thing: object) -> str:
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]  # not callable: TypeError
    except (TypeError, ValueError):
        return ""
    # Defaults show as their values; an object without a readable one would differ at each run.
    shown = [
        p.replace(default=_Unreadable()) if " at 0x" in repr(p.default) else p
        for p in signature.parameters.values()
    ]
    # Annotations are kept as text (PEP 563): show them without the quotation marks.
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=shown)))
    return re.sub(r"<(\w+\.\w+): [^>]*>", r"\1", text)  # members of enumerations


def _block(text: str) -> list[str]:
    return ["```python", text, "```", ""]


def _names(owner: type) -> Iterator[str]:
    """The members of a class, and those of bases that have no entry of their own."""
    yield from vars(owner)
    inherited: set[str] = set()
    for base in owner.__mro__[1:]:
        ours = base.__module__.startswith("switchover.")
        if ours and getattr(switchover, base.__name__, None) is not base:
            inherited.update(vars(base))
    # What asyncio calls is nobody else's business.
    inherited -= {*vars(owner), *dir(asyncio.BufferedProtocol), *dir(asyncio.Protocol)}
    yield from sorted(inherited)


def _members(owner: type) -> Iterator[str]:
    for name in _names(owner):
        if name.startswith("_"):
            continue
        thing = getattr(owner, name)
        documentation = inspect.getdoc(thing)
        if not documentation:
            continue
        first = documentation.splitlines()[0]
        if inspect.isroutine(thing):
            yield f"- `{name}()`: {first}"
        elif inspect.isdatadescriptor(thing):
            yield f"- `{name}`: {first}"


def _entry(name: str) -> list[str]:
    thing = getattr(switchover, name)
    lines = [f"### `{name}`", ""]
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        lines += _block("\n".join(f"{name}.{member}" for member in thing.__members__))
    elif callable(thing) and not getattr(thing, "_is_protocol", False):
        lines += _block(f"{name}{_signature(thing).removesuffix(' -> None')}")
    lines += [inspect.getdoc(thing) or "", ""]
    if inspect.isclass(thing) and (members := list(_members(thing))):
        lines += [*members, ""]
    return lines


def render() -> str:
    """Return the page as it should be: errors last, the rest in alphabetical order."""
    names = [name for name in getattr(switchover, "__all__", []) if name != "__version__"]
    errors = [n for n in names if getattr(switchover, n).__module__ == "switchover.errors"]
    lines = [_INTRODUCTION]
    for title, group in ("Names", sorted(set(names) - set(errors))), ("Errors", sorted(errors)):
        if group:
            lines += [f"## {title}", ""]
            lines += [line for name in group for line in _entry(name)]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Run from the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write docs/reference/api.md.")
    parser.add_argument("--check", action="store_true", help="only compare; fail if it is stale")
    page = render()
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is stale: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
