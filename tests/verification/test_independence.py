"""What `fg_onnx.verify` rests on: the manifest, the runtime and arithmetic, and no rule of ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from conftest import SAMPLES

import fg_onnx

ROOT = Path(fg_onnx.__file__).parent
GATE = "verification.gate"
ALLOWED = {
    *("_version", "errors", "files", "manifest", "runtime"),
    *("verification.behaviour", "verification.feeding", GATE, "verification.gradients"),
    *("verification.graphs", "verification.maps", "verification.report", "verification.slopes"),
    *("verification.structure", "verification.tangents", "verification.traced"),
}
OTHERS = {"google", "ml_dtypes", "numpy", "onnx", *sys.stdlib_module_names}
"""onnxruntime is imported by name, in `runtime`; `_version` by the package itself."""

VERIFY = """
import sys
import fg_onnx
assert fg_onnx.verify(*sys.argv[1:]).verdict == "passed"
print(*(name for name in sys.modules if name.startswith("fg_onnx.")))
"""


def imported(module: str) -> set[str]:
    """All that a module of fg_onnx imports, wherever it does: modules, or names in them."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def module_of(name: str) -> str:
    """Of a module of fg_onnx or a name in one, the module, without the package's name."""
    inner = name.removeprefix("fg_onnx.")
    return inner if (ROOT / f"{inner.replace('.', '/')}.py").exists() else inner.rpartition(".")[0]


def test_what_the_files_import():
    seen: set[str] = set()
    waiting = {GATE}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        names = imported(module)
        # the package's own names are whatever it offers, those that build models too
        assert "fg_onnx" not in names, module
        own = {name for name in names if name.startswith("fg_onnx.")}
        assert {name.partition(".")[0] for name in names - own} <= OTHERS, module
        waiting |= {module_of(name) for name in own} - seen
    assert seen == ALLOWED - {"_version"}


def test_what_is_loaded_when_a_model_is_verified(tmp_path):
    """All files of the gate, and nothing else of the package."""
    source, model = tmp_path / "net.onnx", tmp_path / "net.fg.onnx"
    source.write_bytes(SAMPLES["bn_unfolded"].model.SerializeToString())
    fg_onnx.instrument(source).save(model)
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(model), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = {name.removeprefix("fg_onnx.") for name in done.stdout.split()}
    assert loaded - {"verification"} == ALLOWED
