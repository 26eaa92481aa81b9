"""A real headless Chromium, spoken to through the pipe of its DevTools protocol.

No driver and no package is needed: messages are JSON, ended by a zero byte, on file descriptors 3
and 4 of the browser.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_WORKERS = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
TIMEOUT = 120  # seconds for one answer: a browser that hangs, and not a machine that is busy
KEYS = {
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
    "Escape": ("Escape", 27),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowDown": ("ArrowDown", 40),
    "Home": ("Home", 36),
    "End": ("End", 35),
    "Space": ("Space", 32),
}

# puts the ends of two pipes where the browser looks for them, and becomes the browser
_START = """
import os, sys
reads, writes = (os.dup(int(end)) for end in sys.argv[1:3])
reads, writes = os.dup(reads), os.dup(writes)
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def program() -> str:
    """Of Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed (`make browser` does so on Debian, as root)")
    return found


class Chromium:
    """One browser with one page.

    Attributes:
        errors: what was written to the console as an error, thrown, or refused by its policy.
        dialogs: the texts of alerts and the like, which are closed.
        requests: the addresses of all that was fetched but for the page and data URIs.
    """

    def __init__(self, profile: Path, flags: Sequence[str] = ("--disable-gpu",)) -> None:
        to_read, write = os.pipe()
        read, to_write = os.pipe()
        self._reads, self._writes = read, write
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(to_read), str(to_write), program(), *FLAGS, *flags,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Target.setAutoAttach", **_WORKERS)

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._reads)
        os.close(self._writes)

    # --- the protocol -----------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        wanted = self._send(method, parameters, self._session)
        while True:
            found = self._receive()
            if found.get("id") == wanted:
                assert "error" not in found, (method, found["error"])
                return found["result"]

    def _send(self, method: str, parameters: dict[str, Any], session: str | None) -> int:
        """A command whose answer is not waited for, for this may be on the way to another one."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        return self._last

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reads], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            read = os.read(self._reads, 1 << 20)
            assert read, "Chromium has ended"
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        found = json.loads(text)
        self._notice(found.get("method", ""), found.get("params", {}))
        return found

    def _notice(self, event: str, said: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert", "warning"):
            self.errors.append(str(said["args"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])
        elif event == "Page.javascriptDialogOpening":
            self.dialogs.append(said["message"])
            self._send("Page.handleJavaScriptDialog", {"accept": False}, self._session)
        elif event == "Target.attachedToTarget" and said["targetInfo"]["type"] == "worker":
            # its requests and errors are of interest too, and those of its own workers
            for method in ("Network.enable", "Runtime.enable", "Log.enable"):
                self._send(method, {}, said["sessionId"])
            self._send("Target.setAutoAttach", _WORKERS, said["sessionId"])
            self._send("Runtime.runIfWaitingForDebugger", {}, said["sessionId"])
        elif event == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.requests.append(url)

    # --- what a person does -----------------------------------------------------------------

    def open(
        self, page: Path | str, *, width: int = 1200, dark: bool = False, scripts: bool = True
    ) -> None:
        """Loads a page in a window of that width, and forgets what was noticed before."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width)
        self.look(dark=dark)
        self._go("about:blank")
        self.errors.clear()
        self.dialogs.clear()
        self.requests.clear()
        self._go(page.as_uri() if isinstance(page, Path) else page)

    def _go(self, url: str) -> None:
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def resize(self, width: int) -> None:
        """The window to that width; a narrow one is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def look(self, *, dark: bool = False, medium: str = "screen") -> None:
        """Light or dark, on a screen or in print."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def tell(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def settle(self) -> None:
        """Waits until events that are due were handled."""
        self.tell("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def press(self, key: str, times: int = 1) -> None:
        """A key of the keyboard."""
        code, number = KEYS[key]
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        for _ in range(times):
            known = {"key": text if key == "Space" else key, "code": code,
                     "windowsVirtualKeyCode": number}  # fmt: skip
            kind = "keyDown" if text else "rawKeyDown"
            self.call("Input.dispatchKeyEvent", type=kind, text=text, **known)
            self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def choose(self, key: str, value: str) -> None:
        """An entry of a `select`, as by hand."""
        self.tell(
            f"(() => {{ const at = document.getElementById({json.dumps(key)});"
            f" at.value = {json.dumps(value)};"
            " at.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def click(self, selector: str) -> None:
        """The middle of an element, with the mouse."""
        box = self.tell(
            f"(() => {{ const at = document.querySelector({json.dumps(selector)});"
            " at.scrollIntoView({block: 'center'}); const box = at.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def choose_file(self, selector: str, path: Path) -> None:
        """A file for an `input`, as by the system's own dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        self.call("Emulation.setEmulatedMedia", media="", features=[])
        found = self.call(
            "Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.7
        )
        return base64.b64decode(found["data"])
