"""Browsers without a window: Chromium over its DevTools protocol, Firefox over WebDriver BiDi."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

START_SECONDS = 90
ANSWER_SECONDS = 60

# Nothing is looked up, fetched or reported that no test asked for. The browser sets more of this
# kind by itself when it is driven from outside.
FIREFOX_PREFERENCES: dict[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.http.speculative-parallel-limit": 0,
    "network.prefetch-next": False,
    "network.proxy.type": 0,  # none, whatever the machine's settings say
    "network.trr.mode": 5,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "signon.autofillForms": False,
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "",
}


class Remote:
    """Commands to a browser as JSON over a WebSocket, one at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0

    def ask(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events in between are passed over."""
        self._number += 1
        call: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            call["sessionId"] = session
        self._connection.send(json.dumps(call))
        while True:
            answer = json.loads(self._connection.recv(timeout=ANSWER_SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


class Page(ABC):
    """A page in a browser."""

    @abstractmethod
    def open(self, url: str) -> None:
        """Go to the URL."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it comes to."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Make the page as large as that, in CSS pixels."""

    @abstractmethod
    def screenshot(self, path: Path) -> None:
        """Save what the page looks like as PNG."""

    @abstractmethod
    def close(self) -> None:
        """Away with it, and with its connections."""

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Until the expression is true in the page; its value."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} is still {value!r}"
            time.sleep(0.1)
        return value


class ChromiumPage(Page):
    """A target of the DevTools protocol."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._target = remote.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = remote.ask("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._remote.ask(method, session=self._session, **parameters)

    def open(self, url: str) -> None:
        self._ask("Page.enable")
        assert not self._ask("Page.navigate", url=url).get("errorText")

    def evaluate(self, expression: str) -> Any:
        answer = self._ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._ask("Emulation.setDeviceMetricsOverride", **metrics)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._remote.ask("Target.closeTarget", targetId=self._target)


class FirefoxPage(Page):
    """A browsing context of WebDriver BiDi."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._context = remote.ask("browsingContext.create", type="tab")["context"]

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._remote.ask(f"browsingContext.{method}", context=self._context, **parameters)

    def open(self, url: str) -> None:
        self._ask("navigate", url=url, wait="interactive")

    def evaluate(self, expression: str) -> Any:
        # BiDi describes a value by its types; as JSON it comes as it does from Chromium.
        answer = self._remote.ask(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((it) => JSON.stringify(it) ?? 'null')",
            awaitPromise=True,
            target={"context": self._context},
        )
        assert answer["type"] == "success", answer["exceptionDetails"]
        return json.loads(answer["result"]["value"])

    def resize(self, width: int, height: int) -> None:
        self._ask("setViewport", viewport={"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("captureScreenshot")["data"]))

    def close(self) -> None:
        self._ask("close")


def _endpoint(process: subprocess.Popen[bytes], log: Path, announced: str) -> str:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if found := re.search(announced + r"\s", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"the browser did not start: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _started(
    command: list[str], folder: Path, announced: str, path: str = "", **environment: str
) -> Iterator[Remote]:
    """A browser of our own; ``announced`` finds its address in what it writes to stderr."""
    log = folder / "stderr"  # not a pipe: nobody would read that later
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        with connect(
            _endpoint(process, log, announced) + path,
            max_size=None,
            proxy=None,
            open_timeout=ANSWER_SECONDS,
            close_timeout=1,
        ) as connection:
            yield Remote(connection)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _installed(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"{names[0]} is not installed (.ci/apt-packages.txt lists the packages)")


@contextmanager
def chromium(folder: Path) -> Iterator[Callable[[], Page]]:
    """What opens an empty page in Chromium."""
    command = [
        _installed("chromium", "google-chrome"), "--headless=new", "--no-sandbox", "--disable-gpu",
        "--no-first-run", "--ignore-certificate-errors", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-proxy-server", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", "--window-size=1000,1100", "about:blank",
    ]  # fmt: skip
    with _started(command, folder, r"DevTools listening on (ws://\S+)") as remote:
        yield lambda: ChromiumPage(remote)


@contextmanager
def firefox(folder: Path) -> Iterator[Callable[[], Page]]:
    """What opens an empty page in Firefox."""
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
        for name, value in FIREFOX_PREFERENCES.items()
    ]
    (folder / "user.js").write_text("".join(lines))
    command = [
        _installed("firefox-esr", "firefox"), "--headless", "--no-remote", "--width=1000",
        "--height=1100", "--remote-debugging-port=0", "--profile", str(folder), "about:blank",
    ]  # fmt: skip
    announced = r"WebDriver BiDi listening on (ws://[^\s/]+)"
    surroundings = {
        "HOME": str(folder),  # as root it refuses to start in somebody else's
        "MOZ_CRASHREPORTER_DISABLE": "1",
        "MOZ_REMOTE_SETTINGS_DEVTOOLS": "1",  # without it, services.settings.server is ignored
    }
    with _started(command, folder, announced, "/session", **surroundings) as remote:
        remote.ask("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        yield lambda: FirefoxPage(remote)


@pytest.fixture(scope="session", params=[chromium, firefox], ids=lambda browser: browser.__name__)
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Page]]:
    """A browser started for the session, the one and then the other; call it for a page."""
    with request.param(tmp_path_factory.mktemp(request.param.__name__)) as new_page:
        yield new_page


@pytest.fixture
def page(browser: Callable[[], Page]) -> Iterator[Page]:
    """A fresh, empty page."""
    fresh = browser()
    yield fresh
    fresh.close()


@pytest.fixture
def another_page(browser: Callable[[], Page]) -> Iterator[Page]:
    """A second page beside the first."""
    fresh = browser()
    yield fresh
    fresh.close()
