"""How busy `fg-onnx audit` keeps the runtime on the CPU, and what memory it takes.

    python -m benchmarks.audit [--images 100] [--batch 8] [--ray 2]

SqueezeNet 1.1 on copies of real photographs, once so many and once ten times as many, each in a
process of its own. Time runs from the first image to the last row, so that reading the model and
the report are not counted; the runtime is busy while ONNX Runtime runs the model and nothing else.
The peak is that of the whole process, report included. On Ray, time includes that the workers
start, and the peak is that of the process that hands out the parts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.photographs import copies
from sample_models import squeezenet

HEADER = """\
| engine | images | batch | images/s | runtime busy | peak memory, MB |
|---|---|---|---|---|---|"""


def measure(model: str, images: str, out: str, batch: str, workers: str) -> None:
    """One audit in this process; what it took, as JSON on stdout."""
    from fg_onnx.audit import auditing
    from fg_onnx.audit.distributed import Cluster, on_ray
    from fg_onnx.audit.items import find_files
    from fg_onnx.audit.model import open_audited
    from fg_onnx.audit.report import write_reports
    from fg_onnx.pictures.preprocess import PRESETS

    opened = open_audited(Path(model), device="cpu")
    options = auditing.Options(sample=4, shown=16, batch=int(batch))
    paths = find_files([images], opened.session)
    prepared = auditing.prepare(opened, paths, PRESETS["caffe-bgr"], out, options)
    engine = auditing.run_pending
    if int(workers):
        engine = on_ray(opened, Cluster(workers=int(workers)))
    document, timing = auditing.audit(prepared, engine=engine)
    write_reports(document, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps([timing.images, timing.whole, timing.busy, peak]))


def row(model: Path, images: Path, out: Path, batch: int, workers: int) -> str:
    """The same in a process of its own, as a line of the table."""
    code = "import sys; from benchmarks.audit import measure; measure(*sys.argv[1:])"
    arguments = map(str, (model, images, out, batch, workers))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True
    )
    count, whole, busy, peak = json.loads(done.stdout)
    engine = f"ray, {workers} workers of a CPU" if workers else "local"
    return (
        f"| {engine} | {count} | {batch} | {count / whole:.1f} | {busy / whole:.1%} | {peak:.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ray", type=int, default=0, metavar="WORKERS")
    asked = parser.parse_args()
    model = squeezenet.write()
    print(f"{os.cpu_count()} CPUs\n\n{HEADER}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for workers in dict.fromkeys((0, asked.ray)):
            for count in (asked.images, 10 * asked.images):
                images = folder / str(count)
                if not images.exists():
                    copies(images, count)
                out = folder / f"{count}-{workers}"
                print(row(model, images, out, asked.batch, workers), flush=True)


if __name__ == "__main__":
    main()
