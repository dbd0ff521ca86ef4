"""Fixtures for the tests of the mechanism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from switchover.http.fields import Fields
from switchover.http.messages import Request


def _ask(method: str, target: str, *lines: tuple[str, str], **attributes: Any) -> Request:
    return Request(method, target, Fields([("Host", "example.com"), *lines]), **attributes)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    """Make a request: method, target, field lines, and attributes by name."""
    return _ask
