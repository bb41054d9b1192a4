"""A headless Chromium that a test asks over its debugging pipe (the Chrome DevTools Protocol, messages that end in NUL)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

WITHIN = 120.0  # seconds for an answer: the first one comes after its start, on a loaded machine
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page in it. `told` has what it reported: (event, its parameters)."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium")
        assert program, "chromium is missing: scripts/test.py --all installs it"
        ours, theirs = os.pipe(), os.pipe()  # we write to 3, it writes to 4
        # from high numbers, so that none of the two is overwritten by the other
        reading, writing = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 200) for descriptor in (ours[0], theirs[1]))
        start = f"import os, sys; os.dup2({reading}, 3); os.dup2({writing}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        words = [sys.executable, "-c", start, program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            words,
            pass_fds=(reading, writing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (reading, writing):
            os.close(descriptor)
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.told: list[tuple[str, dict[str, Any]]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a method."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, path: Path, width: int) -> None:
        """Opens a page in a window of that width, and waits until it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.told.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(event == "Page.loadEventFired" for event, _ in self.told):
            self._next()

    def value(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def picture(self) -> bytes:
        """The whole page as PNG."""
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + WITHIN
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "chromium does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, f"chromium ended: {self._process.poll()}"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        if "method" in answer:
            self.told.append((answer["method"], answer["params"]))
        return answer
