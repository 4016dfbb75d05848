"""Measure how many clips a second the paper's networks train and test on a device, from tensors that lie on it.

    python benchmarks/throughput.py --out results/throughput

For each network at 224 pixels and 3 segments: float32, bfloat16, with channels last, and compiled. Each is timed over
rounds after a warm-up; the median counts. The share is of the device's own rate on a large bfloat16 matrix product,
measured in the same run: what is computed usefully (2 operations a multiply-accumulate, 3 passes a training step), not
what is scheduled. Written: `throughput.csv` and `run.json`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib import _files
from pkdlib.companion.runs import store
from pkdlib.models import backbones, cost
from pkdlib.training import devices

SEGMENTS, CLASSES = 3, 101
VARIANTS = ("float32", "bfloat16", "channels_last", "compiled")
ROUNDS = 5


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="paper", choices=backbones.BACKBONES)
    parser.add_argument("--side", type=int, default=224, help="pixels")
    parser.add_argument("--clips", type=int, default=32, help="clips a batch")
    parser.add_argument("--seconds", type=float, default=0.6, help="of a round")
    parser.add_argument("--out", type=Path, help="folder for throughput.csv and run.json")
    options = parser.parse_args()
    devices.prepare(options.device, torch.get_num_threads())
    peak = _rate(options)
    print(f"{store.provenance()['device']}: a bfloat16 matrix product at {peak / 1e12:.0f} TFLOP/s")
    rows = []
    settings = {"side": options.side, "segments": SEGMENTS, "clips": options.clips, "peak_flops": peak}
    macs = {modality: _macs(modality, options) for modality in backbones.MODALITIES}
    for variant in VARIANTS:  # the slow ones last: what is measured by then is written
        for modality in backbones.MODALITIES:
            row = {"network": modality, "variant": variant, **_measure(modality, variant, options)}
            done = row["training_clips_per_second"] * 6 * macs[modality]
            rows.append(row | {"gmac": macs[modality] / cost.GMAC, "share_of_peak": done / peak})
            print({key: round(value, 3) if isinstance(value, float) else value for key, value in rows[-1].items()})
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(rows).to_csv(options.out / "throughput.csv", index=False, float_format="%.5g")
                _files.write_json(options.out / store.RECORD, {"settings": settings, **store.provenance()})


def _measure(modality: str, variant: str, options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    net = backbones.backbone(modality=modality, size=options.size, num_classes=CLASSES).to(options.device)
    if variant in ("channels_last", "compiled"):
        net = net.to(memory_format=torch.channels_last)
    precision = "float32" if variant == "float32" else "bfloat16"
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)
    clip = torch.randn(
        options.clips, SEGMENTS, backbones.CHANNELS[modality], options.side, options.side, device=options.device
    )
    labels = torch.arange(options.clips, device=options.device) % CLASSES
    forward: Callable[[Tensor], Tensor] = torch.compile(net) if variant == "compiled" else net

    def train() -> None:
        with devices.autocast(options.device, precision):
            logits = forward(clip)
        loss = functional.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def test() -> None:
        with devices.autocast(options.device, precision):
            forward(clip)

    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    train()
    _wait(options)
    first = time.perf_counter() - started
    training = options.clips / _seconds(train, options)
    on_gpu = options.device != "cpu"
    busy = torch.cuda.utilization() if on_gpu else float("nan")  # of the time just now, by the driver
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    net.eval()
    # A compiled network would be compiled anew for testing, which takes longer than all else here.
    testing = options.clips / _seconds(test, options) if variant != "compiled" else float("nan")
    return {
        "training_clips_per_second": training,
        "testing_clips_per_second": testing,
        "first_step_seconds": first,
        "gpu_busy_percent": busy,
        "peak_memory_gib": memory,
    }


def _seconds(step: Callable[[], None], options: argparse.Namespace) -> float:
    step()
    _wait(options)
    started = time.perf_counter()
    step()
    _wait(options)
    steps = max(1, int(options.seconds / max(time.perf_counter() - started, 1e-6)))
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(max(1, steps // ROUNDS)):
            step()
        _wait(options)
        rounds.append((time.perf_counter() - started) / max(1, steps // ROUNDS))
    return statistics.median(rounds)


def _rate(options: argparse.Namespace) -> float:
    side = 8192 if options.device != "cpu" else 512
    a, b = (torch.randn(side, side, device=options.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: a @ b, options)


def _macs(modality: str, options: argparse.Namespace) -> int:
    net: nn.Module = backbones.backbone(modality=modality, size=options.size, num_classes=CLASSES).eval()
    clip = torch.zeros(1, SEGMENTS, backbones.CHANNELS[modality], options.side, options.side)
    return cost.macs(net, clip)


def _wait(options: argparse.Namespace) -> None:
    if options.device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
