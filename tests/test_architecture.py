"""The house stands as docs/explanation/architecture.md draws it."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import switchover

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "switchover"

# A room may import the rooms named here, and itself. "switchover" is the façade.
SANS_IO = {
    "errors": set(),
    "http": {"errors"},
    "upgrade": {"errors", "http"},
    "websocket": {"errors", "http", "upgrade"},
    "http2": {"errors", "http", "upgrade"},
    "tunnel": {"errors", "http", "upgrade"},
}
BELOW = set(SANS_IO)
ARROWS: dict[str, set[str]] = SANS_IO | {
    "asyncio": BELOW,
    "asgi": BELOW | {"asyncio"},
    "containers": BELOW | {"asyncio"},
    "proxy": BELOW | {"asyncio"},
    "diagnose": BELOW | {"asyncio"},
    "testing": BELOW,
    "sync": BELOW | {"asyncio"},
    "httpx": BELOW | {"asyncio", "sync"},
    "cli": BELOW | {"asyncio", "asgi", "proxy", "diagnose", "switchover"},
    "switchover": BELOW | {"asyncio", "asgi", "proxy", "diagnose"},
    "__main__": {"cli"},
}
# Single modules that may do more than their room, and what for.
MORE = {
    "testing.asyncio": {"asyncio"},  # memory transports on a loop
}
# Names needed only by the type checker, against the arrows.
TYPE_ONLY = {"errors": {"http"}}  # an error carries the request and the response

# Rooms above the line: clocks and randomness come in as arguments.
FORBIDDEN = {"asyncio", "socket", "ssl", "selectors", "threading", "time", "logging"}
# Single modules below the line in a room above it.
SANS_IO_MODULES = {"containers.channels", "containers.streams"}

MAX_FILE, MAX_FILE_WITH_REASON = 400, 600
MAX_FUNCTION = 60
MAX_PARAMETERS = 6  # by position; options by name cost their reader nothing
LONG_FUNCTIONS: dict[str, str] = {}  # "module:function" → why it is one piece


@dataclasses.dataclass(frozen=True)
class Source:
    """One module of the package, parsed."""

    name: str  # without the package: "http.fields", "http" for its __init__, "switchover"
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


@cache
def sources() -> list[Source]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "switchover"
        text = path.read_text(encoding="utf-8")
        found.append(Source(name, path, text, ast.parse(text)))
    return found


def each_source(*, rooms: set[str] | None = None) -> list[object]:
    wanted = [source for source in sources() if rooms is None or source.room in rooms]
    return [pytest.param(source, id=source.name) for source in wanted]


def is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def modules_imported(source: Source, *, types: bool) -> Iterator[str]:
    """Every module named by an import, wherever it stands; relative ones made absolute."""
    guarded = {n for i in ast.walk(source.tree) if is_type_checking(i) for n in ast.walk(i)}
    package = ["switchover", *source.name.split(".")]
    if source.path.name != "__init__.py" or source.name == "switchover":
        package.pop()
    for node in ast.walk(source.tree):
        if (node in guarded) is not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from switchover import http` names a room, `from switchover import Server` the façade
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(source: Source, *, types: bool) -> set[str]:
    rooms = set()
    for module in modules_imported(source, types=types):
        top, _, rest = module.partition(".")
        if top == "switchover":
            room = rest.partition(".")[0]
            rooms.add(room if room in ARROWS else "switchover")
    return rooms - {source.room}


@pytest.mark.parametrize("source", each_source())
def test_imports_follow_the_arrows(source: Source) -> None:
    assert source.room in ARROWS, f"{source.room} is no room yet: draw its arrows"
    allowed = ARROWS[source.room] | MORE.get(source.name, set())
    assert not rooms_imported(source, types=False) - allowed
    assert not rooms_imported(source, types=True) - allowed - TYPE_ONLY.get(source.room, set())


@pytest.mark.parametrize("source", each_source(rooms=BELOW))
def test_sans_io_rooms_name_no_io(source: Source) -> None:
    imported = {module.partition(".")[0] for module in modules_imported(source, types=False)}
    assert not imported & FORBIDDEN


@pytest.mark.parametrize("name", sorted(SANS_IO_MODULES))
def test_sans_io_modules_name_no_io(name: str) -> None:
    source = next(source for source in sources() if source.name == name)
    imported = {module.partition(".")[0] for module in modules_imported(source, types=False)}
    assert not imported & FORBIDDEN
    assert "asyncio" not in rooms_imported(source, types=False)


IMPORT_AND_LIST = """
import importlib, sys, types

forbidden, package, modules = {forbidden!r}, {package!r}, {modules!r}
bare = types.ModuleType("switchover")  # without the façade, which imports every room
bare.__path__ = [package]
sys.modules["switchover"] = bare
before = set(sys.modules)
for module in modules:
    importlib.import_module("switchover." + module)
print(*sorted((set(sys.modules) - before) & forbidden))
"""


@pytest.mark.parametrize("room", sorted(SANS_IO))
@pytest.mark.parametrize("build", ["as built", "pure"])
def test_sans_io_rooms_bring_no_io_with_them(room: str, build: str) -> None:
    modules = [source.name for source in sources() if source.room == room]
    if not modules:
        pytest.skip(f"{room} is not built yet")
    script = IMPORT_AND_LIST.format(forbidden=FORBIDDEN, package=str(PACKAGE), modules=modules)
    environment = {"SWITCHOVER_PURE_PYTHON": "1"} if build == "pure" else {}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout.split() == []


def test_importing_one_room_does_not_need_another_above_it() -> None:
    """Each room can be imported first: no order of imports is relied on."""
    for room in sorted({source.room for source in sources()} - {"switchover", "__main__"}):
        script = IMPORT_AND_LIST.format(forbidden=set(), package=str(PACKAGE), modules=[room])
        if "switchover" in ARROWS[room]:
            script = (
                f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import switchover.{room}"
            )
        subprocess.run([sys.executable, "-c", script], check=True)


def test_there_is_no_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [s.name for s in sources() if drawers & set(s.name.strip("_").split("."))]


@pytest.mark.parametrize("source", each_source())
def test_files_are_short_enough_to_be_read_at_once(source: Source) -> None:
    lines = source.text.count("\n")
    if lines > MAX_FILE:
        top = "\n".join(source.text.splitlines()[:40])
        assert re.search(r"onger than other(s| files)( because|:) \S+", top), (
            f"{lines} lines, and no sentence 'The file is longer than others because …' at the top"
        )
    assert lines <= MAX_FILE_WITH_REASON


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its ``def``, its docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


@pytest.mark.parametrize("source", each_source())
def test_functions_fit_on_a_screen(source: Source) -> None:
    long = {f"{source.name}:{f.name}" for f in functions(source.tree) if length(f) > MAX_FUNCTION}
    assert not long - LONG_FUNCTIONS.keys()


def makers_of_values(tree: ast.AST) -> Iterator[ast.stmt]:
    """The ``__init__`` of classes with ``__match_args__``: one argument for each attribute."""
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef):
            assigned = [node for node in owner.body if isinstance(node, ast.Assign)]
            names = {ast.unparse(node.targets[0]) for node in assigned}
            if "__match_args__" in names:
                yield from (node for node in owner.body if getattr(node, "name", "") == "__init__")


@pytest.mark.parametrize("source", each_source())
def test_functions_take_few_arguments_by_position(source: Source) -> None:
    values = set(makers_of_values(source.tree))
    for function in functions(source.tree):
        if function in values:
            continue  # as those of a dataclass would be
        taken = [*function.args.posonlyargs, *function.args.args]
        own = [argument for argument in taken if argument.arg not in {"self", "cls"}]
        assert len(own) <= MAX_PARAMETERS, function.name


@pytest.mark.parametrize("source", each_source())
def test_every_ignored_type_error_says_which_and_why(source: Source) -> None:
    for line in source.text.splitlines():
        if "type: ignore" in line:
            assert re.search(r"# type: ignore\[[\w, -]+\]\s+# \S+ \S+", line), line


@pytest.mark.parametrize("room", sorted(ARROWS.keys() - {"__main__"}))
def test_a_room_opens_with_what_it_is(room: str) -> None:
    opening = [s for s in sources() if s.name == room]
    if not opening:
        pytest.skip(f"{room} is not built yet")
    docstring = ast.get_docstring(opening[0].tree) or ""
    assert docstring
    if room in SANS_IO.keys() - {"errors"}:
        assert "RFC " in docstring, "a room says which sections it carries out"


def public_modules() -> list[object]:
    """Modules without a leading underscore anywhere: what a user may import from."""
    names = [s.name for s in sources() if not any(p.startswith("_") for p in s.name.split("."))]
    return [pytest.param(name, id=name) for name in names]


def load(name: str) -> ModuleType:
    return importlib.import_module("switchover" if name == "switchover" else f"switchover.{name}")


@pytest.mark.parametrize("name", public_modules())
def test_what_a_module_exports_is_there(name: str) -> None:
    module = load(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    assert not [item for item in exported if not hasattr(module, item)]


def own_documentation(thing: object) -> str:
    """The docstring of a class or function itself: a dataclass's signature is none."""
    doc = thing.__dict__.get("__doc__") if isinstance(thing, type) else inspect.getdoc(thing)
    if not isinstance(doc, str):
        return ""
    if isinstance(thing, type):
        generated = dataclasses.is_dataclass(thing) and doc.startswith(f"{thing.__name__}(")
        if generated or (issubclass(thing, enum.Enum) and doc == "An enumeration."):
            return ""
    return doc


def undocumented(module: ModuleType) -> Iterator[str]:
    """Public names defined in a module, and the public methods of its public classes."""
    for name, thing in vars(module).items():
        defined_here = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not defined_here:
            continue
        if inspect.isfunction(thing) and not own_documentation(thing):
            yield name
        if inspect.isclass(thing):
            if not own_documentation(thing):
                yield name
            yield from undocumented_members(thing)


def undocumented_members(owner: type) -> Iterator[str]:
    for name, member in vars(owner).items():
        plain = inspect.isfunction(member) or isinstance(
            member, property | classmethod | staticmethod
        )
        # getdoc() on the attribute finds the docstring of the method that it overrides
        if not name.startswith("_") and plain and not inspect.getdoc(getattr(owner, name)):
            yield f"{owner.__name__}.{name}"


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_is_documented(name: str) -> None:
    module = load(name)
    assert module.__doc__
    assert not list(undocumented(module))


def test_the_facade_defines_nothing() -> None:
    """It re-exports: an import, a docstring, __all__ and __version__."""
    facade = next(source for source in sources() if source.name == "switchover")
    for node in facade.tree.body[1:]:
        assert isinstance(node, ast.Import | ast.ImportFrom | ast.Assign), ast.unparse(node)
        if isinstance(node, ast.Assign):
            assert ast.unparse(node.targets[0]) in {"__all__", "__version__"}


def test_the_facade_exports_what_it_imports() -> None:
    facade = next(source for source in sources() if source.name == "switchover")
    imported = {
        alias.asname or alias.name
        for node in facade.tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert imported == set(getattr(switchover, "__all__", [])) - {"__version__"}


def test_the_facade_and_the_reference_name_the_same() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^### `(\w+)`", page, re.MULTILINE))
    assert documented == set(getattr(switchover, "__all__", [])) - {"__version__"}, "make docs"
