"""Nothing that is written to stderr meanwhile is seen, and threads do not wait for each other."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fg_onnx.silence import silent_stderr


def test_threads_are_silent_at_the_same_time(capfd):
    both = threading.Barrier(2, timeout=30)

    def speak(number):
        with silent_stderr():
            both.wait()  # breaks where one waits for the other to end
            os.write(2, b"unheard")
            both.wait()
            if number:
                return
            last.wait(timeout=30)
            os.write(2, b"unheard")  # the other has ended

    last = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(speak, 0), threads.submit(speak, 1)
        second.result()
        last.set()
        first.result()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_an_error_ends_it(capfd):
    with pytest.raises(ValueError, match="whatever"), silent_stderr():
        raise ValueError("whatever")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_a_process_without_a_stderr(monkeypatch):
    def closed(_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    with silent_stderr():
        pass
