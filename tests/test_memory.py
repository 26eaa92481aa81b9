"""How much of the host's memory a session takes."""

import subprocess
import sys

import numpy as np
import pytest
from onnx import numpy_helper, parser

from fg_onnx import instrument

LAYERS = 6
TENSOR = 8 * 16 * 64 * 64 * 4  # bytes of one layer's, in a batch of eight

_MEASURED = """
import sys
import numpy as np
from fg_onnx import Session
session = Session(sys.argv[1], device="cpu", threads=1)
images = np.ones([8, 16, 64, 64], np.float32)
def held(what):
    return int(open("/proc/self/status").read().split(what)[1].split()[0])
before = held("VmRSS:")
for _ in range(3):
    session.explain(images)
print(held("VmHWM:") - before)
"""


@pytest.fixture
def chain(tmp_path):
    """Convolutions and ReLUs, all tensors of one size."""
    read = ["x", *(f"a{i}" for i in range(LAYERS))]
    steps = "".join(
        f"h{i} = Conv <pads=[1,1,1,1]> ({read[i]}, w{i}, b{i}) a{i} = Relu (h{i})"
        for i in range(LAYERS)
    )
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[N,16,64,64] x) => (float[N,16] y) {{
            {steps}
            g = GlobalAveragePool (a{LAYERS - 1})
            y = Flatten (g)
        }}""")
    rng = np.random.default_rng(0)
    for i in range(LAYERS):
        for name, shape in ((f"w{i}", [16, 16, 3, 3]), (f"b{i}", [16])):
            values = 0.2 * rng.standard_normal(shape, dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = tmp_path / "chain.onnx"
    instrument(model).save(path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_holds_the_activations_and_little_more(chain):
    command = [sys.executable, "-c", _MEASURED, str(chain)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tensors = int(done.stdout) * 1024 / TENSOR
    # Beside the activations, that masks need: the images, and what one step back and its sums hold
    # at once. It is 13.4, and 18.8 by the runtime's own options.
    assert LAYERS < tensors < 16, tensors
