"""The browser, the runtime that it loads, and pages that are served to it."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from fg_onnx.errors import RuntimeMissingError
from fg_onnx.view import runtime, serving
from tests.commands import fg


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """A folder of onnxruntime-web's files; skips where they cannot be had."""
    try:
        runtime.fetch()
    except RuntimeMissingError as error:
        if error.code == "wrong-checksum":
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("ort")
    for name, data in runtime.members():
        (folder / name).write_bytes(data)
    return folder


@contextmanager
def serve(folder):
    """The address of a folder."""
    with serving.server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{serving.HOST}:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def write(unpacked, tmp_path_factory):
    """A function that writes a page by the command line and gives its folder.

    All pages share one copy of the runtime, which is 41 MB.
    """

    def written(*arguments):
        folder = tmp_path_factory.mktemp("page") / "page"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "members", lambda: iter(()))
            outcome = fg("view", *arguments, "-o", folder)
        assert outcome.code == 0, outcome.err
        (folder / "ort").symlink_to(unpacked)
        return folder

    return written
