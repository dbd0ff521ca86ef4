"""Fixtures for the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("fuzz", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def _event_loops() -> list[object]:
    loops: list[object] = [pytest.param(("asyncio", {}), id="asyncio")]
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return loops
    return [*loops, pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]


@pytest.fixture(params=_event_loops())
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run each asynchronous test on asyncio's own loop and on uvloop's."""
    return request.param
