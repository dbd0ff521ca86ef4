"""What leaves this tree installs, with a compiler and without, with Cython and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import setuptools

import switchover

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "switchover"
TREE = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
FOLDERS = ("src", "tests", "tools", "docs", "examples")

WITHOUT_CYTHON = "import sys; sys.modules['Cython'] = None; "
BUILD = "from setuptools import build_meta; build_meta.build_{kind}({folder!r})"

slow = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        int(setuptools.__version__.partition(".")[0]) < 77,
        reason="needs the setuptools that pyproject.toml asks for",
    ),
]


def compiled_modules() -> dict[str, Path]:
    """The modules with a ``.pxd`` or ``.pyx`` of their own, and the folder of each."""
    found = {}
    for path in [*SOURCE.rglob("*_c.pxd"), *SOURCE.rglob("*.pyx")]:
        found[path.stem] = path.parent.relative_to(SOURCE.parent)
    return found


def has_compiler() -> bool:
    """Whether the C compiler that a build would call answers."""
    command = shutil.which(os.environ.get("CC", "cc"))
    return (
        command is not None
        and subprocess.call([command, "--version"], stdout=subprocess.DEVNULL) == 0
    )


def build(
    kind: str, tree: Path, folder: Path, *, prelude: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", prelude + BUILD.format(kind=kind, folder=str(folder))],
        cwd=tree,
        env=os.environ | {"SWITCHOVER_BUILD": "optional"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of a copy of this tree, in which something has been compiled before."""
    tree = tmp_path_factory.mktemp("tree") / "switchover"
    tree.mkdir()
    for name in TREE:
        shutil.copy(ROOT / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", "node_modules")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    left_over = tree / "src" / "switchover" / "http" / "_head.c"
    left_over.write_text("left over")
    result = build("sdist", tree, tree.parent / "dist")
    assert result.returncode == 0, result.stderr
    (made,) = (tree.parent / "dist").iterdir()
    return made


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    """The sdist's content, as an installer would unpack it."""
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # not before 3.11.4
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)
    (tree,) = tmp_path.iterdir()
    return tree


def wheel_content(folder: Path, unpack_to: Path) -> list[str]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpack_to)
        return archive.namelist()


def run_installed(site: Path, code: str, **environment: str) -> str:
    """Run ``code`` where the only switchover is the one unpacked in ``site``."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"],
        cwd=site,
        env=os.environ | {"PYTHONPATH": ""} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


class TestSdist:
    pytestmark = slow

    def test_sdist_has_every_source_and_nothing_made(self, sdist: Path) -> None:
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        sources = {
            path.relative_to(ROOT).as_posix()
            for pattern in ("*.py", "*.pxd", "*.pyx", "*.html", "py.typed")
            for path in SOURCE.rglob(pattern)
        }
        assert sources <= names
        assert {"pyproject.toml", "setup.py", "LICENSE", "tests/conftest.py"} <= names
        assert not [n for n in names if n.endswith((".c", ".so", ".pyc")) or "build/" in n]


class TestWheel:
    pytestmark = slow

    def test_wheel_is_pure_where_no_compiler_is(self, unpacked: Path, tmp_path: Path) -> None:
        result = build("wheel", unpacked, tmp_path / "dist", CC="false", LDSHARED="false")
        assert result.returncode == 0, result.stderr
        content = wheel_content(tmp_path / "dist", tmp_path / "site")
        assert not [name for name in content if name.endswith((".so", ".c"))]

    def test_wheel_is_pure_where_cython_is_missing(self, unpacked: Path, tmp_path: Path) -> None:
        result = build("wheel", unpacked, tmp_path / "dist", prelude=WITHOUT_CYTHON)
        assert result.returncode == 0, result.stderr
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        assert wheel.name.endswith("-py3-none-any.whl")

    def test_wheel_carries_what_it_needs_to_run(self, unpacked: Path, tmp_path: Path) -> None:
        result = build("wheel", unpacked, tmp_path / "dist", SWITCHOVER_BUILD="pure")
        assert result.returncode == 0, result.stderr
        content = wheel_content(tmp_path / "dist", tmp_path / "site")
        pages = [p.relative_to(SOURCE.parent).as_posix() for p in SOURCE.rglob("*.html")]
        assert {"switchover/py.typed", *pages} <= set(content)
        assert not [name for name in content if name.endswith((".pxd", ".pyx", ".c"))]
        assert not [name for name in content if name.startswith("tests/")]
        code = "import switchover; print(switchover.__file__, switchover.__version__)"
        file, version = run_installed(tmp_path / "site", code).split()
        assert Path(file).is_relative_to(tmp_path / "site")
        assert version == switchover.__version__
        assert f"switchover-{version}.dist-info/METADATA" in content

    @pytest.mark.skipif(not compiled_modules(), reason="nothing to compile yet")
    def test_a_build_that_must_compile_fails_loudly(self, unpacked: Path, tmp_path: Path) -> None:
        required = {"SWITCHOVER_BUILD": "required"}
        without_compiler = build("wheel", unpacked, tmp_path / "a", CC="false", **required)
        assert without_compiler.returncode != 0
        without_cython = build(
            "wheel", unpacked, tmp_path / "b", prelude=WITHOUT_CYTHON, **required
        )
        assert without_cython.returncode != 0

    @pytest.mark.skipif(not compiled_modules(), reason="nothing to compile yet")
    @pytest.mark.skipif(not has_compiler(), reason="no C compiler here")
    def test_compiled_wheel_holds_both_builds(self, unpacked: Path, tmp_path: Path) -> None:
        result = build("wheel", unpacked, tmp_path / "dist", SWITCHOVER_BUILD="required")
        assert result.returncode == 0, result.stderr
        content = wheel_content(tmp_path / "dist", tmp_path / "site")
        for module, folder in compiled_modules().items():
            assert [n for n in content if n.startswith(f"{folder}/{module}.") and ".so" in n]
            name = ".".join([*folder.parts, module])
            # by name: the façade's websocket() hides the room in "import switchover.websocket…"
            code = f"import importlib; print(importlib.import_module({name!r}).__file__)"
            assert run_installed(tmp_path / "site", code).endswith(".so")
            source = Path(folder, module.removesuffix("_c") + ".py").as_posix()
            assert source in content or not module.endswith("_c")


def test_compiled_modules_are_as_new_as_their_sources() -> None:
    """A module compiled in place from yesterday's source would be tested in its stead."""
    stale = []
    for module, folder in compiled_modules().items():
        here = SOURCE.parent / folder
        sources = [here / f"{module.removesuffix('_c')}.py", *here.glob(f"{module}.p*")]
        newest = max(path.stat().st_mtime for path in sources if path.exists())
        stale += [so.name for so in here.glob(f"{module}.*.so") if so.stat().st_mtime < newest]
    assert not stale, "make build"


def test_the_command_is_where_pyproject_says() -> None:
    cli = pytest.importorskip("switchover.cli", reason="the command line is not built yet")
    assert callable(cli.main)
