"""The rest of a handler that waits, in the task it began in; see :mod:`._workers`.

A file of its own, because this is not compiled: a coroutine made of a generator is Python's.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

__all__ = ["rest_of"]


@types.coroutine
def rest_of(
    job: Coroutine[Any, Any, None], context: Context, awaited: Any
) -> Generator[Any, None, None]:
    """Run the rest of a job, which waits for ``awaited``, in its context."""
    step: Callable[[Any], Any]
    while True:
        value: Any
        try:
            value = yield awaited
        except GeneratorExit:
            job.close()
            raise
        except BaseException as error:  # noqa: BLE001  # for the job to meet
            step, value = job.throw, error
        else:
            step = job.send
        try:
            awaited = context.run(step, value)
        except StopIteration:
            return
