"""A certificate for the servers that are asked."""

from __future__ import annotations
