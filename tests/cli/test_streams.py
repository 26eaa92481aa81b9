"""Streams and exit codes: what every command has in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer
from commands import FASHION_VGG, fg, fg_process

import fg_onnx
from fg_onnx.cli.console import reported, to_json
from fg_onnx.errors import ModelError
from fg_onnx.fullgrad.psi import STYLES
from fg_onnx.manifest import EMITS
from fg_onnx.pictures.preprocess import PRESETS


def failing(error):
    @reported
    def command() -> None:
        raise error

    return command


def test_version():
    assert fg("--version").out == f"fg-onnx {fg_onnx.__version__}\n"


SLOW = {"onnx", "onnxruntime", "onnx_graphsurgeon", "cv2", "numpy", "yaml", "pyarrow", "rich"}
COMMANDS = [[], ["instrument"], ["explain"], ["audit"], ["verify"], ["evaluate", "roar"]]


def loaded_by(code: str) -> set[str]:
    """The packages that a program has loaded in the end."""
    code += "\nprint(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    command = [sys.executable, "-c", f"import sys\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_nothing_slow(command):
    run = (
        "import runpy\n"
        f"sys.argv = ['fg-onnx', *{command}, '--help']\n"
        "try: runpy.run_module('fg_onnx.cli', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
    )
    assert loaded_by(run) & SLOW == set()


def test_nor_does_the_package():
    found = loaded_by("import fg_onnx; fg_onnx.FgOnnxError")
    assert "fg_onnx" in found
    assert found & {*SLOW, "typer"} == set()


@pytest.mark.parametrize("command", ["instrument", "explain", "inspect", "ops"])
def test_every_command_has_help(command):
    assert fg(command, "--help").code == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [("instrument", [*STYLES, *EMITS, *PRESETS]), ("explain", [*STYLES, *PRESETS])],
)
def test_help_lists_every_choice(command, words):
    text = " ".join(fg(command, "--help").out.split()).replace("- ", "-")
    assert [word for word in words if word not in text] == []


def test_a_wrong_option_exits_with_2():
    found = fg("explain", "--no-such-option")
    assert found.code == 2
    assert found.out == ""


def test_it_runs_from_anywhere(tmp_path):
    assert fg_process("--version", cwd=tmp_path).code == 0


def test_an_error_of_the_library_is_two_lines_and_its_exit_code(capsys):
    with pytest.raises(typer.Exit) as caught:
        failing(ModelError("code", "first\nsecond", "try that"))()
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: first second\nhint: try that\n"


def test_an_unforeseen_error_is_two_lines_as_well(capsys, monkeypatch):
    monkeypatch.delenv("FG_ONNX_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as caught:
        failing(ZeroDivisionError("by zero"))()
    assert caught.value.exit_code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: unforeseen: ZeroDivisionError: by zero"
    assert "FG_ONNX_DEBUG=1" in hint


def test_an_interrupt_exits_with_130(capsys):
    with pytest.raises(typer.Exit) as caught:
        failing(KeyboardInterrupt())()
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_goes_away_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "fg_onnx.cli", "ops"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    writer.stdout.close()
    assert writer.stderr.read() == b""
    assert writer.wait() == 141


def test_json_holds_no_bare_nan():
    text = to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": float("-inf")}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    assert "NaN" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured_on_a_terminal(no_color, coloured):
    controller, terminal = os.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    command = [sys.executable, "-m", "fg_onnx.cli", "inspect", str(FASHION_VGG)]
    subprocess.run(command, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    assert (b"\x1b[" in os.read(controller, 10_000)) is coloured
    os.close(controller)


def test_no_colour_without_a_terminal():
    assert "\x1b[" not in fg_process("ops").out
