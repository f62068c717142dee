"""The cost table: the losses it compares are the true ones, its memory is what a step takes, and nothing runs twice."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch

from confuda.app.cli import main
from confuda.benchmark.cost import CostOptions, plan_cells
from confuda.benchmark.cost_report import find_growth, list_findings
from confuda.benchmark.cost_step import (
    BLOCKS,
    CENTROIDS,
    PIXELS,
    CostCase,
    estimate_step_bytes,
    make_step,
    measure_peak_bytes,
)
from confuda.losses.blocks import contrast_blocks
from confuda.losses.pixels import contrast_pixels, estimate_pixel_contrast_bytes

CPU = torch.device("cpu")


def make_case(loss: str, side: int, partitions: int = 1, channels: int = 8) -> CostCase:
    return CostCase(loss, partitions, side, channels, 1, None, "cpu")


def measure(loss: str, side: int, partitions: int = 1, channels: int = 8) -> int:
    step = make_step(make_case(loss, side, partitions, channels), CPU)
    step()
    return measure_peak_bytes(step, CPU)


def test_the_pixel_wise_loss_is_infonce_written_out() -> None:
    here, there = (torch.randn(2, 3, 2, 3, dtype=torch.float64) for _ in range(2))
    expected = []
    for image in range(2):
        pixels = [part[image].flatten(1).T for part in (here, there)]
        both = torch.nn.functional.normalize(torch.cat(pixels), dim=1)
        for anchor in range(12):
            scores = torch.exp(both @ both[anchor] / 0.3)
            others = [number for number in range(12) if number != anchor]
            expected.append(-torch.log(scores[(anchor + 6) % 12] / scores[others].sum()))
    torch.testing.assert_close(contrast_pixels(here, there, 0.3), torch.stack(expected).mean())


def test_one_block_over_the_whole_image_is_the_pixel_wise_loss() -> None:
    here, there = (torch.randn(2, 5, 8, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    whole = torch.ones(2, 8, 8, dtype=torch.bool)
    losses = contrast_pixels(here, there, 0.2), contrast_blocks(here, there, whole, 8, 0.2)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, here)[0] for loss in losses))
    assert not torch.isclose(losses[0], contrast_blocks(here, there, whole, 4, 0.2))


def test_the_pixel_wise_loss_refuses_what_does_not_match() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    with pytest.raises(ValueError, match="same pixels"):
        contrast_pixels(maps, maps[:, :, :2], 0.1)
    with pytest.raises(ValueError, match="temperature"):
        contrast_pixels(maps, maps, 0.0)


def test_a_known_allocation_is_measured_to_the_byte() -> None:
    values = torch.ones(1000, 1000, requires_grad=True)

    def step() -> torch.Tensor:
        loss = (values * values).sum()  # One product of 4 MB; the sum keeps nothing.
        loss.backward()
        values.grad = None
        return loss.detach()

    step()
    peak = measure_peak_bytes(step, CPU)
    # In the backward pass: the product is gone, both factors' gradients and their sum are there.
    assert 8e6 <= peak <= 12.1e6
    assert measure_peak_bytes(step, CPU) == peak


def test_memory_grows_with_the_fourth_power_for_pixels_and_with_the_square_for_centroids() -> None:
    for loss, partitions, power in ((PIXELS, 1, 4), (BLOCKS, 1, 2), (CENTROIDS, 1, 2), (CENTROIDS, 16, 2)):
        cells = [{"side": side, "peak_bytes": measure(loss, side, partitions)} for side in (32, 64)]
        assert find_growth(cells, "peak_bytes") == pytest.approx(power, abs=0.25), loss
    everywhere = [{"side": side, "peak_bytes": measure(CENTROIDS, side, side * side)} for side in (32, 64)]
    assert find_growth(everywhere, "peak_bytes") == pytest.approx(2, abs=0.25)


def test_partitions_cost_next_to_no_memory_and_pixels_a_lot() -> None:
    ccl = measure(CENTROIDS, 48)
    assert measure(CENTROIDS, 48, 16) < 1.3 * ccl
    assert measure(PIXELS, 48) > 100 * ccl


@pytest.mark.parametrize("loss, partitions", [(PIXELS, 1), (BLOCKS, 1), (CENTROIDS, 1), (CENTROIDS, 48 * 48)])
def test_the_estimate_that_refuses_is_near_what_is_measured(loss, partitions) -> None:
    estimated = estimate_step_bytes(make_case(loss, 48, partitions))
    assert estimated == pytest.approx(measure(loss, 48, partitions), rel=0.35)
    assert estimate_pixel_contrast_bytes(1, 224, 224) > 1e11


def run(folder: Path, *more: str) -> int:
    common = ["--resolutions", "16", "32", "--channels", "4", "--partitions", "4", "--repeats", "1", "--threads", "1"]
    return main(["benchmark", "cost", "-o", str(folder), "--device", "cpu", *common, *more])


def read_cells(folder: Path) -> List[Dict[str, Any]]:
    return json.loads((folder / "cost.json").read_text(encoding="utf-8"))["cells"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """All losses on two small maps, except the pixel-wise one on the larger."""
    folder = tmp_path_factory.mktemp("cost")
    assert run(folder, "--memory-limit-gb", "0.03") == 0
    return folder


@pytest.mark.slow
def test_the_table_has_what_was_asked(finished) -> None:
    rows = ["CCL", "MPCCL, P = 4", "MPCCL, P = H*W", "BlockCL", "pixel-wise"]
    cells = read_cells(finished)
    assert [(cell["row"], cell["side"]) for cell in cells] == [(row, side) for side in (16, 32) for row in rows]
    measured = [cell for cell in cells if "peak_bytes" in cell]
    assert len(measured) == 9
    for cell in measured:
        assert cell["peak_bytes"] > 0 and cell["seconds"] > 0 and cell["threads"] == 1 and cell["channels"] == 4
    text = (finished / "cost.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0][2:] for line in lines] == ["loss", *rows]
    assert "16 x 16 | 32 x 32" in lines[0]
    assert "prohibitive to use" in text and "power of the side, at 4 channels: CCL 2.0" in text
    assert (finished / "cost.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_process_takes_what_its_tensors_take(finished) -> None:
    cell = next(cell for cell in read_cells(finished) if cell["row"] == "BlockCL" and cell["side"] == 32)
    if cell["resident_bytes"] is None:
        pytest.skip("needs Linux's /proc, which tells the resident size")
    assert cell["resident_bytes"] == pytest.approx(cell["peak_bytes"], rel=0.5)


@pytest.mark.slow
def test_what_would_need_too_much_is_refused_and_runs_when_it_may(finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "cost-cells").iterdir()}
    assert len(before) == 9
    (refused,) = [cell for cell in read_cells(finished) if "would_need_bytes" in cell]
    assert (refused["row"], refused["side"]) == ("pixel-wise", 32) and refused["would_need_bytes"] > 30e6
    assert "would need 50.4 MB" in (finished / "cost.md").read_text(encoding="utf-8")
    assert run(finished) == 0
    after = {path: path.stat().st_mtime_ns for path in (finished / "cost-cells").iterdir()}
    # The others were not measured again: their files are the former ones.
    assert len(after) == 10 and {path: after[path] for path in before} == before
    assert not [cell for cell in read_cells(finished) if "would_need_bytes" in cell]


def test_another_number_of_threads_is_another_measurement(tmp_path) -> None:
    def plan(threads: int) -> set:
        options = CostOptions(tmp_path, resolutions=(16,), channels=(4,), threads=threads)
        return {cell.path.name for cell in plan_cells(options, CPU, "a machine")}

    assert not plan(1) & plan(2)


def test_more_partitions_than_pixels_have_no_row(tmp_path) -> None:
    planned = plan_cells(CostOptions(tmp_path, resolutions=(8,), channels=(4,), partitions=(4, 65)), CPU, "a machine")
    assert [cell.row for cell in planned] == ["CCL", "MPCCL, P = 4", "MPCCL, P = H*W", "BlockCL", "pixel-wise"]


def test_findings_tell_only_what_was_measured() -> None:
    def cell(row: str, side: int, **more) -> Dict[str, Any]:
        return {"row": row, "loss": PIXELS if row == "pixel-wise" else CENTROIDS, "side": side, "channels": 8, **more}

    one = [cell("CCL", 56, peak_bytes=1e6, seconds=0.1), cell("pixel-wise", 56, peak_bytes=5e8, seconds=2.0)]
    assert list_findings(one) == ["pixel-wise takes 500.0 times the memory and 20.0 times the time of CCL at 56 x 56."]
    two = one + [cell("CCL", 112, peak_bytes=4e6, seconds=0.4), cell("pixel-wise", 112, would_need_bytes=int(8e9))]
    text = "\n".join(list_findings(two))
    assert "CCL 2.0." in text and "8.0 GB at 112 x 112 (2,000 times CCL)" in text
    assert list_findings([]) == []


@pytest.mark.parametrize(
    "more, word",
    [
        (["--resolutions", "0"], "--resolutions"),
        (["--repeats", "0"], "--repeats"),
        (["--memory-limit-gb", "0"], "--memory-limit-gb"),
        (["--threads", "0"], "--threads"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_options_are_told_before_any_work(more, word, tmp_path, capsys) -> None:
    assert main(["benchmark", "cost", "-o", str(tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and word in said[0]
    assert not (tmp_path / "out").exists()
