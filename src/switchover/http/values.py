"""What plain classes of values share: how they compare, show themselves, and stay as made.

For classes that are compiled, which a dataclass cannot be. Each names its attributes, in the
order of its arguments, in ``__match_args__``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["equal", "set_once", "shown"]


def shown(value: Any) -> str:
    """Return the ``repr`` of ``value``: its class, called with its attributes by name."""
    attributes = [f"{name}={getattr(value, name)!r}" for name in value.__match_args__]
    return f"{type(value).__qualname__}({', '.join(attributes)})"


def equal(value: Any, other: Any) -> bool:
    """Whether all attributes of two values of one class are equal."""
    return all(getattr(value, name) == getattr(other, name) for name in value.__match_args__)


def set_once(value: Any, name: str, content: object) -> None:
    """Set an attribute that is not set yet; raise ``AttributeError`` for any other.

    The ``__setattr__`` of values that are not to change, which compiled ones cannot anyway.
    """
    if name not in value.__slots__ or hasattr(value, name):
        raise AttributeError(f"a {type(value).__name__} cannot be changed")
    object.__setattr__(value, name, content)
