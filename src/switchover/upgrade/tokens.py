"""Upgrade tokens: the compiled build where there is one, else the same source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchover.http.fields import COMPILED as _FIELDS_COMPILED

__all__ = ["COMPILED", "UpgradeToken", "is_token", "read_member"]

if TYPE_CHECKING or not _FIELDS_COMPILED:
    from switchover.upgrade._tokens import UpgradeToken, is_token, read_member
else:
    try:
        from switchover.upgrade._tokens_c import UpgradeToken, is_token, read_member
    except ImportError:
        from switchover.upgrade._tokens import UpgradeToken, is_token, read_member

#: Whether tokens are compiled.
COMPILED: bool = UpgradeToken.__module__.endswith("_c")
