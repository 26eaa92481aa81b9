"""The benchmark of the CPU: that it measures what it says, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FASHION, run

from benchmarks import judged, results, tables, turns
from benchmarks.methods import (
    AUTHORS,
    BARE,
    FORWARD,
    GRAD_CAM,
    INSTRUMENTED,
    METHODS,
    ONNX_AD,
    PEERS,
    RISE,
    TORCH_FORWARD,
    TORCH_GRADIENT,
)
from benchmarks.results import Cell, Section
from benchmarks.turns import Effort
from benchmarks.variants import Files
from benchmarks.worker import Busy

ROOT = Path(__file__).parents[1]


def _benchmark(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_run(tmp_path):
    """Somebody's own net: no torch. Twice into one document, the second against the first."""
    shortly = ["--batches", 1, 16, "--threads", 1, "--blocks", 1, "--runs", 1, "--peers"]
    now, then, page = (tmp_path / name for name in ("now.json", "then.json", "page.md"))
    _benchmark("--models", FASHION, *shortly, "--json", then)
    now.write_bytes(then.read_bytes())
    said = _benchmark(
        "--models", FASHION, *shortly, "--json", now, "--markdown", page, "--compare", then
    )
    sections = results.read(now)
    assert [(each.net, each.batch) for each in sections] == [
        ("fashion_vgg", 1),
        ("fashion_vgg", 16),
    ]
    for section in sections:
        assert set(section.cells) == {FORWARD, INSTRUMENTED, BARE}
        for cell in section.cells.values():
            assert cell.error == ""
            assert [len(block) for block in cell.blocks] == [1]
            assert cell.ms > 0
            assert cell.peak_mib > 0
        assert section.sizes[FORWARD] == FASHION.stat().st_size < section.sizes[INSTRUMENTED]
        assert 0 < section.seconds[INSTRUMENTED] < 60
        assert section.about["threads"] == "1"
        assert section.about["onnxruntime"]
        assert section.about["command"].startswith(f"python -m benchmarks --models {FASHION}")
    one, sixteen = sections
    assert sixteen.cells[INSTRUMENTED].peak_mib > one.cells[INSTRUMENTED].peak_mib
    assert said.startswith(page.read_text())
    assert said.count("| fashion_vgg | 16 |") == 1
    assert results.read(then) != sections
    assert _benchmark("--tables", "--json", now).strip() == page.read_text().strip()


@pytest.mark.torch
def test_a_small_run_beside_torch(tmp_path):
    pytest.importorskip("torch")
    found = tmp_path / "found.json"
    # Five blocks, for the machine may be busy.
    shortly = ["--batches", 1, "--blocks", 5, "--runs", 1, "--peers"]
    _benchmark("--models", "shufflenet_v2_x0_5", *shortly, "--json", found)
    (section,) = results.read(found)
    assert set(section.cells) == set(METHODS) - set(PEERS)
    assert [cell.error for cell in section.cells.values()] == [""] * len(section.cells)
    assert section.time_ratio(TORCH_GRADIENT, TORCH_FORWARD) > 1
    assert section.time_ratio(AUTHORS, TORCH_FORWARD) > 5


@pytest.mark.torch
@pytest.mark.network
def test_squeezenet_is_the_same_net_in_torch():
    torch = pytest.importorskip("torch")
    from benchmarks import nets
    from sample_models import squeezenet

    image = np.random.default_rng(0).normal(0, 50, (2, 3, 227, 227)).astype(np.float32)
    expected = run(squeezenet.write(), {"image": image})["logits"]
    found = nets.build("squeezenet1_1")(torch.from_numpy(image)).numpy()
    # float32, sums of up to 4608 products in another order
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_one_runs_and_all_others_are_stopped(tmp_path):
    if not Path("/proc/self/stat").exists():
        pytest.skip("the system does not say of a process whether it is stopped")
    with turns.worker(FORWARD, "net", str(tmp_path), 1) as worker:
        assert "error" in worker.ask(1, 1)  # there is no such file
        state = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
        assert "error" in worker.ask(1, 1)
    assert worker.process.returncode is not None


def test_a_process_that_is_no_more_is_an_error(tmp_path):
    with turns.worker(FORWARD, "net", str(tmp_path), 1) as worker:
        worker.process.kill()
        worker.process.wait()
        assert worker.ask(1, 1) == {"error": "the process ended with -9"}
    with turns.worker("no-such-method", "net", str(tmp_path), 1) as worker:
        said = worker.ask(1, 1)["error"]
    assert said == "the process ended with 1: KeyError: 'no-such-method'"


def test_methods_alternate_and_slow_ones_run_less(monkeypatch, tmp_path):
    """Of eight blocks the slow one gets four, evenly spread; what fails is not asked again."""
    ms = {FORWARD: 10.0, AUTHORS: 2000.0}
    asked = []

    def ask(self, batch, runs, warm_up=0):
        asked.append((self.method, runs, warm_up))
        if self.method == RISE:
            return {"error": "no room"}
        return {
            "ms": [ms[self.method]] * runs,
            "peak_mib": float(len(asked)),
            "seconds": 1.0,
            "elsewhere": 0.5,
        }

    monkeypatch.setattr(turns.Worker, "ask", ask)
    effort = Effort(blocks=8, runs=5, seconds=8)
    found = turns.alternate("net", str(tmp_path), [FORWARD, AUTHORS, RISE], [16], effort, 2)[16]
    assert asked[:3] == [(FORWARD, 1, 1), (AUTHORS, 1, 1), (RISE, 1, 1)]
    fast, slow = (FORWARD, 5, 2), (AUTHORS, 1, 0)
    assert asked[3:] == [fast, fast, slow] * 4
    assert found[FORWARD] == Cell(((10.0,) * 5,) * 8, 1.0, 14.0, 0.5)
    assert found[AUTHORS] == Cell(((), (2000.0,)) * 4, 0.25, 15.0, 0.5)
    assert found[AUTHORS].ms == 8000
    assert found[RISE] == Cell(error="no room")


def test_how_much_is_measured():
    effort = Effort(blocks=6, runs=8, seconds=10)
    assert effort.pace(1.0) == (6, 8)
    assert effort.pace(500.0) == (6, 3)
    assert effort.pace(2500.0) == (4, 1)
    assert effort.pace(60000.0) == (3, 1)
    assert Effort(blocks=1, runs=1, seconds=10).pace(60000.0) == (1, 1)
    for blocks in range(1, 7):
        assert sum(turns.takes_part(turn, 6, blocks) for turn in range(6)) == blocks


def test_what_is_reckoned_from_a_part():
    assert METHODS[FORWARD].share(16) == METHODS[AUTHORS].share(4) == 1
    assert METHODS[AUTHORS].share(16) == METHODS[GRAD_CAM].share(16) == 0.25
    assert METHODS[RISE].share(1) == 0.064
    assert METHODS[RISE].share(16) == 0.004


def test_onnx_ad_has_a_file_for_each_batch(tmp_path):
    files = Files(tmp_path)
    assert files.model(ONNX_AD, 1) != files.model(ONNX_AD, 16)
    assert files.model(FORWARD, 1) == files.model(FORWARD, 16)


def test_medians_and_quartiles():
    cell = Cell(((1.0, 2.0), (3.0, 4.0, 10.0)), share=0.5)
    assert cell.ms == 6
    assert cell.quartiles == (4, 8)
    assert Cell(((1.0,),)).quartiles is None
    assert Cell(error="no room").ms is None


def test_ratios_are_taken_within_a_turn():
    """The machine is half as fast for two of five turns, and the slow one sits out the third."""
    fast = Cell(((10.0,), (10.0,), (20.0,), (20.0,), (10.0,)))
    slow = Cell(((15.0,), (15.0,), (), (30.0,), (15.0,)), share=0.5)
    peer = Cell(((12.0, 12.0),))
    section = Section("net", 1, {}, {FORWARD: fast, AUTHORS: slow, ONNX_AD: peer})
    assert section.time_ratio(AUTHORS, FORWARD) == 3
    assert section.time_ratio(ONNX_AD, FORWARD) == 1.2
    assert section.time_ratio(INSTRUMENTED, FORWARD) is None
    later = Cell(((), (15.0,), (30.0,), (30.0,), ()))
    cells = {FORWARD: fast, INSTRUMENTED: later}
    assert later.ms / fast.ms == 3
    assert Section("net", 1, {}, cells).time_ratio(INSTRUMENTED, FORWARD) == 1.5


def test_what_others_took_is_told():
    """On the average; ticks are coarse, and below nothing is nothing."""
    cells = {FORWARD: Cell(((5.0,),), elsewhere=0.6), RISE: Cell(((5.0,),), elsewhere=-0.1)}
    failed = {AUTHORS: Cell(error="no room")}
    assert Section("net", 1, {}, {**cells, **failed}).disturbance == pytest.approx(0.25)
    assert Section("net", 1, {}, {RISE: cells[RISE]}).disturbance == 0
    assert Section("net", 1, {}, failed).disturbance is None


def test_the_time_of_others_is_seen():
    if not Path("/proc/stat").exists():
        pytest.skip("the system does not say how busy it is")
    before = Busy.now()
    spin = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert Busy.now().elsewhere(before) > 0.4


def _section(net="resnet50", batch=1, about=None, **ms):
    keys = {"f": FORWARD, "i": INSTRUMENTED, "g": TORCH_GRADIENT, "a": AUTHORS, "r": RISE}
    cells = {keys[key]: Cell(((value, value),), 1.0, 10 * value) for key, value in ms.items()}
    return Section(net, batch, about or {}, cells, {FORWARD: 100, INSTRUMENTED: 105})


def test_the_document_keeps_everything(tmp_path):
    path = tmp_path / "found.json"
    sections = [_section(f=1.0, i=2.0), _section(batch=16, f=3.0)]
    results.write(path, sections)
    assert results.read(path) == sections
    held = json.loads(path.read_text())["sections"][0]["cells"][INSTRUMENTED]
    assert (held["median_ms"], held["quartiles_ms"]) == (2, [2, 2])
    again = _section(batch=16, f=4.0)
    other = _section(net="resnet18", f=5.0)
    assert results.merged(sections, [again, other]) == [sections[0], again, other]
    path.write_text("[]")
    with pytest.raises(ValueError, match="was not written by"):
        results.read(path)


def _verdicts(sections, nets):
    return [each.verdict for each in judged.judgements(sections, nets)]


def test_aims_are_judged_by_what_was_measured():
    nets = ("resnet50", "resnet18")
    held = [_section(net, f=10.0, i=26.0, g=104.0 / 3, a=390.0) for net in nets]
    assert _verdicts(held, nets) == ["holds"] * 4
    slow = _section("resnet18", f=10.0, i=27.0, g=26.0, a=134.0)
    found = judged.judgements([held[0], slow], nets)
    assert [each.missed for each in found] == [["resnet18"]] * 3 + [[]]
    assert [each.verdict for each in found] == ["does not hold"] * 3 + ["holds"]
    assert found[2].geometric_mean == pytest.approx((15 * 134 / 27) ** 0.5)


def test_each_may_hold_and_the_mean_not():
    sections = [_section(f=10.0, i=20.0, g=22.0, a=120.0)]
    first, forward, authors, _ = judged.judgements(sections, ["resnet50"])
    assert first.missed == authors.missed == []
    assert first.verdict == authors.verdict == "does not hold"
    assert forward.verdict == "holds"


def test_an_aim_for_nets_that_were_not_measured_does_not_hold_yet():
    sections = [_section(f=10.0, i=20.0)]
    assert _verdicts(sections, ("resnet50", "vgg16_bn")) == [
        "not measured for resnet50, vgg16_bn",
        "not measured for vgg16_bn",
        "not measured for resnet50, vgg16_bn",
        "not measured for vgg16_bn",
    ]
    foreign = judged.judgements([_section("mine", f=1.0, i=99.0)], ("resnet50",))
    assert [each.verdict for each in foreign] == ["not measured for resnet50"] * 4
    assert foreign[0].geometric_mean is None


def test_memory_is_judged_at_batch_16():
    sections = [_section(batch=16, f=10.0, i=25.1)]
    *_, memory, _ = judged.judgements(sections, ["resnet50"])
    assert "peak memory" in memory.text
    assert memory.ratios == {"resnet50": pytest.approx(2.51)}
    assert memory.verdict == "does not hold"


def test_the_page():
    where = {"processor": "2 x net", "command": "python -m benchmarks --models resnet50"}
    section = _section(about=where, f=10.0, i=30.0, g=123.0)
    failed = {GRAD_CAM: Cell(error="not installed"), RISE: Cell(((4.0, 8.0),), 0.5)}
    section = Section(
        "resnet50", 1, where, {**section.cells, **failed}, section.sizes, {INSTRUMENTED: 0.5}
    )
    text = tables.page([section])
    assert "| resnet50 | 10.0 ± 0.0 | 30.0 ± 0.0 | 123 ± 0.0 | failed | ~12.0 ± 2.0 |" in text
    assert "| resnet50 | 3.00 | 2.6 | - | 0.24 | - | 3.00 | 1.05 | 0.50 | 0.00 |" in text
    assert "each <= its limit | **resnet50 3.00** | - | does not hold |" in text
    assert "- resnet50, batch 1, pytorch-grad-cam: not installed" in text
    assert "- processor 2 x net: resnet50 (1)" in text
    assert "python -m benchmarks --models resnet50\n```" in text


def test_times_are_compared_in_units_of_the_forward_pass():
    """A machine that is twice as slow today has changed nothing."""
    then = [_section(f=10.0, i=30.0, a=100.0), _section(batch=16, f=1.0)]
    now = [_section(f=20.0, i=30.0, a=200.0), _section("resnet18", f=1.0)]
    head, _, *rows = tables.compared(now, then).splitlines()
    assert head == (
        "| now / then | batch | ORT forward itself | instrumented | authors' algorithm "
        "| peak memory | file |"
    )
    assert rows == ["| resnet50 | 1 | 2.00 | 0.50 | 1.00 | 0.50 | 1.00 |"]
