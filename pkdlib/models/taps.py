"""Exits on any torch module: its forward pass, stopped behind named submodules and taken up again there.

Nothing of the module is traced or rewritten. To go on behind a submodule, the forward pass is called anew, and all that
its parts have yielded before is handed to it as it was. So only what lies between the parts, such as an addition or a
reshape, is computed again.
"""

import contextlib
import difflib
import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from pkdlib.models.backbones import FeatureBackbone, NetworkError


class TappedBackbone(FeatureBackbone):
    """A module whose exits read what some of its submodules yield; `tapped` makes one.

    Args:
        module: From (B, ...) to logits (B, classes).
        taps: Names of the submodules, in the order in which they are called.
    """

    def __init__(self, *, module: nn.Module, taps: Sequence[str]):
        """Share the module."""
        super().__init__()
        self.module, self.taps = module, tuple(taps)
        self.widths: tuple[int, ...] = ()
        # Parts whose output has no row for each sample, such as an embedding of places.
        self.common: frozenset[str] = frozenset()

    def rows(self, clips: Tensor) -> tuple[Tensor, int]:
        """Take samples as they are: each is one row.

        Args:
            clips: (B, ...), as the module takes them.

        Returns:
            The same, and 1.
        """
        return clips, 1

    def features(self, samples: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yield what each tap yields, and at last the module's logits, computing no more than is asked for.

        Args:
            samples: (B, ...).

        Yields:
            (B, ...) each. `send` takes the rows (int64) that go on, or None for all.
        """
        done: list[tuple[str, Any]] = []
        for tap in (*self.taps, None):
            rows = yield self.run_to(tap, samples, done)
            if rows is not None:
                samples = samples[rows]
                done = [(name, value if name in self.common else _chosen(value, rows)) for name, value in done]

    def run_to(self, tap: str | None, samples: Tensor, done: list[tuple[str, Any]]) -> Any:
        """Run the module as far as a tap.

        Args:
            tap: Where to stop; None is nowhere.
            samples: (B, ...).
            done: The parts that need not be run, in the order of their calls, and what they have yielded; whatever is
                run is added.

        Returns:
            What the tap, or the module, yields.
        """
        calls = 0

        def call(name: str, forward: Callable, *args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > len(done):
                done.append((name, forward(*args, **options)))
                if name == tap:
                    raise _ReachedError
            return done[calls - 1][1]

        with _each_call(_parts(self.module, self.taps), call):
            try:
                return self.module(samples)
            except _ReachedError:
                return done[-1][1]

    def classify(self, features: Tensor, segments: int) -> Tensor:
        """Take the module's logits as they are.

        Args:
            features: (B, classes).
            segments: 1.

        Returns:
            The same.
        """
        return features


def tapped(module: nn.Module, *, at: Sequence[str], example: Tensor) -> TappedBackbone:
    """Let exits hang on some submodules of a trained module.

    Args:
        module: From (B, ...) to logits (B, classes), each sample by itself. It is put in eval mode and shared, not
            copied.
        at: Names of submodules, as `module.named_modules()` has them; any number. Exits come in the order in which
            these are called. Each yields planes (B, C, h, w), volumes (B, C, t, h, w), tokens (B, T, C) or vectors
            (B, C).
        example: Two samples or more as the module reads them, on its device; the module is run on them.

    Returns:
        The backbone, on which `light_classifiers` hang exits. A sample that leaves at an exit is computed no further.

    Raises:
        NetworkError: If a name is not in the module, or not called once in each pass; or if what the module yields is
            no logits, or depends on the other samples.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pkdlib import models
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        >>> models.tapped(net, at=["1", "3"], example=torch.randn(2, 4)).widths
        (8, 6, 3)
    """
    own = type(module).__name__
    known = [name for name, _ in module.named_modules() if name]
    for name in at:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known[:3]
            raise NetworkError(f"{own} has no submodule {name!r}; it has, for instance: {', '.join(near)}")
    if len(example) < 2:
        raise NetworkError("example: two samples or more are needed, to see what in the module belongs to which")
    whole, alone = [], []  # the parts' calls for all samples, and for the first alone
    backbone = TappedBackbone(module=module, taps=at).eval()
    with torch.no_grad():
        logits = backbone.run_to(None, example, whole)
        first = backbone.run_to(None, example[:1], alone)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise NetworkError(f"{own} gives no logits (B, classes): wrap it in a module that does")
    if not torch.allclose(first, logits[:1], rtol=1e-3, atol=1e-4):
        raise NetworkError(f"{own} answers a sample otherwise where others are beside it: exits need each by itself")
    calls = [name for name, _ in whole]
    for name in at:
        if calls.count(name) != 1:
            raise NetworkError(f"submodule {name!r} of {own} is called {calls.count(name)} times in a pass, not once")
    features = [value for name, value in whole if name in at]
    backbone.taps = tuple(name for name in calls if name in at)
    backbone.widths = tuple(value.shape[-1 if value.ndim == 3 else 1] for value in [*features, logits])
    backbone.common = frozenset(
        name for (name, all_), (_, one) in zip(whole, alone, strict=True) if _leading(all_) == _leading(one)
    )
    return backbone


class _ReachedError(Exception):
    """The pass has come to the tap: not a failure."""


def _parts(module: nn.Module, taps: Sequence[str]) -> Mapping[str, nn.Module]:
    # The largest submodules that hold no tap, and the taps.
    around = {"", *(tap[:place] for tap in taps for place, letter in enumerate(tap) if letter == ".")} - set(taps)
    named = module.named_modules()
    return {name: own for name, own in named if name.rpartition(".")[0] in around and name not in around}


@contextlib.contextmanager
def _each_call(parts: Mapping[str, nn.Module], call: Callable) -> Iterator[None]:
    # For as long as the context is open, a part's forward pass goes through `call`.
    before = {part: vars(part).get("forward") for part in parts.values()}
    for name, part in parts.items():
        part.forward = functools.partial(call, name, part.forward)
    try:
        yield
    finally:
        for part, forward in before.items():
            del part.forward
            if forward is not None:
                part.forward = forward


def _chosen(value: Any, rows: Tensor) -> Any:
    return fx.node.map_aggregate(value, lambda own: own[rows] if isinstance(own, Tensor) else own)


def _leading(value: Any) -> list[int]:
    found: list[int] = []
    fx.node.map_aggregate(value, lambda own: found.append(len(own)) if isinstance(own, Tensor) and own.ndim else None)
    return found
