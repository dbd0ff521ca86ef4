"""Conformance suites that others publish, run against switchover. Nothing of them is kept here."""
