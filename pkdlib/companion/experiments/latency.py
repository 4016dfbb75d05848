"""Time a run's cascades and its bare networks on real clips, and the decoding of what each reads.

Systems are timed in turn, round after round, so that a load on the machine falls on all alike; the median over rounds
counts. Networks are timed on the parameters' device, on tensors that lie there; decoding is timed apart, on the
processor and from the compressed files, so that what a policy saves of each can be seen.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pkdlib import _files
from pkdlib.companion import workspace
from pkdlib.companion.experiments import operating_points
from pkdlib.companion.experiments.counts import Rows
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.workspace import Run
from pkdlib.data import frame_cache, loader, sampling
from pkdlib.early_exit import policies
from pkdlib.early_exit.policies import Policy
from pkdlib.training import devices

BATCHES = (1, 32)
CLIPS = 32  # test clips that are timed, spread over the part
ROUNDS = 3


def latency_step(exits: Exits) -> Path:
    """Time the chosen policies, running everything, and bare networks with fewer segments; and decoding.

    Args:
        exits: Of which cascades.

    Returns:
        A folder with `latency.json`.
    """
    run = exits.run

    def make(target: Path) -> None:
        test = workspace.dataset(run.parameters).splits[run.split].test
        chosen = [test[i] for i in frame_cache.segment_centres(len(test), min(CLIPS, len(test)))]
        _files.write_json(
            target / "latency.json", {"systems": _systems(exits, chosen), "decoding": _decoding(run, chosen)}
        )

    return exits.step("latency", make)


def latency(exits: Exits) -> Rows:
    """Yield how long each system takes.

    Args:
        exits: Of which cascades.

    Yields:
        system (`policy` or `fewer_segments`), kind, setting (share of the cost, or segments), batch, milliseconds (a
        clip, median over rounds), decoding (milliseconds a clip to decode the modalities that it asks for).
    """
    content = _files.read_json(latency_step(exits) / "latency.json")
    spent = {(row["modality"], row["segments"]): row["milliseconds"] for row in content["decoding"]}
    for row in content["systems"]:
        decoded = sum(share * spent[modality, row["segments"]] for modality, share in row["reached"].items())
        columns = ("system", "kind", "setting", "batch", "milliseconds")
        yield {**exits.run.columns, **{name: row[name] for name in columns}, "decoding": decoded}


def decoding(exits: Exits) -> Rows:
    """Yield how long it takes to decode of a clip what one network reads.

    Args:
        exits: Of which cascades.

    Yields:
        modality, segments, milliseconds (a clip, median over rounds).
    """
    for row in _files.read_json(latency_step(exits) / "latency.json")["decoding"]:
        yield {**exits.run.columns, **{name: row[name] for name in ("modality", "segments", "milliseconds")}}


def _systems(exits: Exits, chosen: list[int]) -> list[dict]:
    p = exits.run.parameters
    bank, nets = workspace.frame_bank(p), _placed(exits.backbones.load(), p.device)

    def inputs(indices: list[int], segments: int) -> dict[str, torch.Tensor]:
        shape = {"size": p.input_size, "segments": segments, "device": p.device}
        return sampling.evaluation_batch(bank, indices, modalities=p.plan.networks, **shape)

    def bare(batch: dict[str, torch.Tensor]) -> dict[str, float]:
        return {name: float(len(net(batch[name]))) for name, net in nets.items()}

    timed: list[tuple[dict, Callable, list]] = []
    for size in BATCHES:
        batches = list(loader.ordered_batches(chosen, size))
        for segments in range(1, p.segments + 1):
            where = {"system": "fewer_segments", "kind": "none", "setting": float(segments), "segments": segments}
            where["batch"] = size
            timed.append((where, bare, [inputs(indices, segments) for indices in batches]))
        whole = timed[-1][2]
        for kind, method in p.plan.chosen:
            cascade = _placed(exits.load(kind, method), p.device)
            for share in (*operating_points.SHARES, 1.0):
                where = {"system": "policy", "kind": kind, "setting": share, "segments": p.segments, "batch": size}
                policy = operating_points.choose(exits, kind, method, share)
                timed.append((where, _executor(cascade, policy), whole))
    return _interleaved(timed, len(chosen), p.device)


def _placed(networks: dict, device: str) -> dict:
    return {name: devices.place(network, device) for name, network in networks.items()}


def _executor(cascade: dict, policy: Policy) -> Callable[[dict[str, torch.Tensor]], dict[str, float]]:
    def execute(batch: dict[str, torch.Tensor]) -> dict[str, float]:
        asked = dict.fromkeys(batch, 0.0)

        def load(name: str, positions: np.ndarray) -> torch.Tensor:
            asked[name] = float(len(positions))
            return batch[name] if len(positions) == len(batch[name]) else batch[name][positions]

        policies.execute(cascade, load, len(batch[policy.order[0]]), policy)
        return asked

    return execute


@torch.no_grad()
def _interleaved(timed: list[tuple[dict, Callable, list]], count: int, device: str) -> list[dict]:
    seconds = np.zeros((ROUNDS + 1, len(timed)))
    reached: list[dict[str, float]] = [{} for _ in timed]
    for turn in range(ROUNDS + 1):  # the first warms up
        for number, (_, execute, batches) in enumerate(timed):
            devices.wait(device)
            started = time.perf_counter()
            asked = [execute(batch) for batch in batches]
            devices.wait(device)
            seconds[turn, number] = time.perf_counter() - started
            reached[number] = {name: sum(a[name] for a in asked) / count for name in asked[0]}
    medians = 1000 * np.median(seconds[1:], axis=0) / count
    return [
        where | {"milliseconds": float(median), "reached": shares}
        for (where, *_), median, shares in zip(timed, medians, reached, strict=True)
    ]


def _decoding(run: Run, chosen: list[int]) -> list[dict]:
    p, data = run.parameters, workspace.dataset(run.parameters)
    asked = [(name, segments) for name in p.plan.networks for segments in range(1, p.segments + 1)]
    seconds = np.zeros((ROUNDS, len(asked)))
    with data.lent(chosen) as clips:
        for turn, (number, (modality, segments)) in itertools.product(range(ROUNDS), enumerate(asked)):
            started = time.perf_counter()
            for clip in clips:
                sampling.read_clip(clip, modality, size=p.input_size, segments=segments, candidates=p.candidates)
            seconds[turn, number] = time.perf_counter() - started
    medians = 1000 * np.median(seconds, axis=0) / len(chosen)
    return [
        {"modality": modality, "segments": segments, "milliseconds": float(median)}
        for (modality, segments), median in zip(asked, medians, strict=True)
    ]
