"""How much of the host's memory a session takes."""

import subprocess
import sys

import pytest
from graphs import convolutions, resized_input

from fg_onnx import instrument

LAYERS = 12
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


# What the adjoint needs of the forward pass, images, and what one step back and its sums hold at
# once. It is 16.4, 16.4 and 18.9; where buffers are reused 19.9 for HardSwish, and with a memory
# pattern 31.9 to 36.9.
# Less than the images and a quarter of the layers, 4, would mean that nothing was measured.
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("activation", "most"),
    [("Relu (h{i})", 17.5), ("Clip (h{i}, zero, six)", 17.5), ("HardSwish (h{i})", 19.5)],
)
def test_a_run_holds_what_masks_need_and_little_more(tmp_path, activation, most):
    layer = "h{i} = Conv <pads=[1,1,1,1]> ({x}, w{i}, b{i}) a{i} = " + activation
    # Of images whose size is not known, and that may be large, no memory is spent for speed.
    chain = resized_input(convolutions(LAYERS, 16, 64, layer), "N", 16, "H", "W")
    path = instrument(chain).save(tmp_path / "chain.onnx")
    command = [sys.executable, "-c", _MEASURED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tensors = int(done.stdout) * 1024 / TENSOR
    assert 4 < tensors < most, tensors
