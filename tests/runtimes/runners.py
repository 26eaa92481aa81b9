"""The runtimes: what they are called, whether they are here, and how a model is run in them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from fg_onnx.errors import FgOnnxError, RuntimeMissingError
from fg_onnx.files import cache_dir
from fg_onnx.manifest import RuntimeName
from fg_onnx.runtime import open_session
from fg_onnx.view import runtime as web

Arrays = dict[str, np.ndarray]

HERE = Path(__file__).parent
NODE_EXAMPLE = HERE.parents[1] / "examples" / "node"
"""Its package.json pins onnxruntime-node, and package-lock.json all that comes with it."""
THREADS = 2


class MissingError(Exception):
    """This machine does not have a runtime, and why."""


@dataclass(frozen=True)
class Runner:
    """A runtime.

    Attributes:
        title: in the table.
        deployed: the name that ``--runtime`` takes.
        version: its version; raises `MissingError` where it is not here.
        run: all outputs of a model.
        judged: whether it is another one than what all are compared with.
    """

    title: str
    deployed: RuntimeName
    version: Callable[[], str]
    run: Callable[[onnx.ModelProto, Arrays], Arrays]
    judged: bool = True


# --- ONNX Runtime ---------------------------------------------------------------------------------


def _ort(*providers: str, optimised: bool = True) -> Callable[[onnx.ModelProto, Arrays], Arrays]:
    def run(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = THREADS
        if not optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = open_session(model.SerializeToString(), providers, options)
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


def _version_with(provider: str) -> Callable[[], str]:
    def version() -> str:
        if provider not in onnxruntime.get_available_providers():
            raise MissingError(f"this onnxruntime has no {provider}")
        probe = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]>g (float[1] x) => (float[1] y) { y = Relu (x) }'
        )
        try:
            open_session(probe.SerializeToString(), [provider])
        except FgOnnxError as error:
            raise MissingError(str(error).splitlines()[0]) from error
        return onnxruntime.__version__

    return version


# --- onnx's reference evaluator -------------------------------------------------------------------


def _reference(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    # The evaluator has no default for an input: they are fed.
    listed = {value.name for value in model.graph.input}
    defaults = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in listed
    }
    evaluator = ReferenceEvaluator(model)
    results = evaluator.run(None, {**defaults, **feeds})
    return dict(zip(evaluator.output_names, results, strict=True))


# --- OpenVINO -------------------------------------------------------------------------------------


def openvino() -> Any:
    """The module; raises `MissingError` where it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise MissingError("openvino is not installed (`make runtimes` does)") from error
    return openvino


def _openvino(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    core = openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
    read = core.read_model(model.SerializeToString(), b"")
    results = core.compile_model(read, "CPU", settings)(feeds, share_inputs=False)
    return {value.name: np.array(results[i]) for i, value in enumerate(model.graph.output)}


# --- JavaScript -----------------------------------------------------------------------------------


@cache
def node() -> str:
    """The path of Node.js; raises `MissingError` where there is none."""
    found = shutil.which("node")
    if found is None:
        raise MissingError("there is no `node` on this machine")
    return found


@cache
def node_modules() -> Path:
    """The packages of examples/node in the cache, installed by npm if they are not there.

    Without their install scripts: they would fetch CUDA libraries from elsewhere.
    """
    node()
    lock = NODE_EXAMPLE / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / f"node-{digest}"
    if not (folder / "node_modules").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("there is no `npm` on this machine")
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".download-") as place:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE_EXAMPLE / name, place)
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=place, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise MissingError(
                    f"npm cannot fetch onnxruntime-node: {done.stderr.strip()[-300:]}"
                )
            with contextlib.suppress(OSError):  # another process was first
                Path(place).rename(folder)
                Path(place).mkdir()
    return folder / "node_modules"


@cache
def _web_module() -> Path:
    node()
    try:
        package = web.fetch()
    except RuntimeMissingError as error:
        if error.code == "wrong-checksum":
            raise
        raise MissingError(str(error).splitlines()[0]) from error
    folder = package.with_suffix("")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".unpacked-") as place:
            for name, data in web.members():
                (Path(place) / name).write_bytes(data)
            with contextlib.suppress(OSError):
                Path(place).rename(folder)
                Path(place).mkdir()
    return folder / "ort.wasm.min.mjs"


def _node_module() -> Path:
    return node_modules() / "onnxruntime-node" / "dist" / "index.js"


def _javascript(module: Callable[[], Path]) -> Callable[[onnx.ModelProto, Arrays], Arrays]:
    def run(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "model.onnx").write_bytes(model.SerializeToString())
            described = {}
            for index, (name, array) in enumerate(feeds.items()):
                file = folder / f"fed{index}.bin"
                file.write_bytes(np.ascontiguousarray(array).tobytes())
                described[name] = {
                    "type": str(array.dtype), "dims": list(array.shape), "file": str(file),
                }  # fmt: skip
            job = {"model": f"{folder}/model.onnx", "feeds": described, "folder": place}
            done = subprocess.run(
                [node(), str(HERE / "run.mjs"), str(module())],
                input=json.dumps(job), capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            return {
                each["name"]: np.fromfile(each["file"], each["type"]).reshape(each["dims"])
                for each in json.loads(done.stdout)
            }

    return run


def _node_version() -> str:
    package = json.loads((node_modules() / "onnxruntime-node" / "package.json").read_text())
    return str(package["version"])


def _web_version() -> str:
    _web_module()
    return web.VERSION


def _openvino_version() -> str:
    openvino()
    return importlib.metadata.version("openvino")


def _webgpu_version() -> str:
    raise MissingError(
        "it needs a browser with a GPU; tests/view runs the Fashion VGG on a software adapter"
    )


CPU = "CPUExecutionProvider"
RUNNERS = {
    "ort": Runner("ONNX Runtime, CPU", "ort", _version_with(CPU), _ort(CPU), judged=False),
    "unoptimised": Runner(
        "ONNX Runtime, CPU, graph not optimised", "ort", _version_with(CPU),
        _ort(CPU, optimised=False), judged=False,
    ),
    "reference": Runner(
        "onnx.reference", "ort", lambda: importlib.metadata.version("onnx"), _reference
    ),
    "openvino": Runner("OpenVINO, CPU", "openvino", _openvino_version, _openvino),
    "node": Runner("onnxruntime-node", "web", _node_version, _javascript(_node_module)),
    "wasm": Runner(
        "onnxruntime-web, WebAssembly", "web", _web_version, _javascript(_web_module)
    ),
    "cuda": Runner(
        "ONNX Runtime, CUDA", "ort", _version_with("CUDAExecutionProvider"),
        _ort("CUDAExecutionProvider", CPU),
    ),
    "tensorrt": Runner(
        "ONNX Runtime, TensorRT", "tensorrt", _version_with("TensorrtExecutionProvider"),
        _ort("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
    ),
    "webgpu": Runner("onnxruntime-web, WebGPU", "web", _webgpu_version, _javascript(_web_module)),
}  # fmt: skip
