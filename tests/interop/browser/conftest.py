"""Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

START_SECONDS = 90
ENDPOINT = re.compile(r"DevTools listening on (ws://\S+)")


class Page:
    """A page in the browser; without a session, the browser itself."""

    def __init__(self, devtools: ClientConnection, session: str | None) -> None:
        self._devtools = devtools
        self._session = session
        self._number = 0

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events in between are passed over."""
        self._number += 1
        call = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            call["sessionId"] = self._session
        self._devtools.send(json.dumps(call))
        while True:
            answer = json.loads(self._devtools.recv(timeout=60))
            if answer.get("id") == self._number and answer.get("sessionId") == self._session:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Go to the URL."""
        self.ask("Page.enable")
        assert not self.ask("Page.navigate", url=url).get("errorText")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it comes to."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Until the expression is true in the page; its value."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} is still {value!r}"
            time.sleep(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))


def _endpoint(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said = b""
    while select.select([process.stderr], [], [], START_SECONDS)[0]:
        piece = os.read(process.stderr.fileno(), 65536)
        said += piece
        if found := ENDPOINT.search(said.decode(errors="replace")):
            return found[1]
        if not piece:
            break
    pytest.fail(f"the browser did not start: {said.decode(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    assert process.stderr is not None
    process.stderr.close()


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientConnection]:
    """A connection to a browser that was started for the session."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed (.ci/apt-packages.txt lists the packages)")
    profile = tmp_path_factory.mktemp("chromium")
    process = subprocess.Popen(
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--ignore-certificate-errors", "--disable-dev-shm-usage",
            "--disable-background-networking", "--no-proxy-server",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1000,1100",
            "about:blank",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        with connect(_endpoint(process), max_size=None, proxy=None) as connection:
            yield connection
    finally:
        _stop(process)


@pytest.fixture
def page(devtools: ClientConnection) -> Page:
    """A fresh, empty page."""
    browser = Page(devtools, None)
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    attached = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
    return Page(devtools, attached["sessionId"])
