"""Groups of clips cut into folds, each of which has every class, and the splits that test on one fold each."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from pkdlib._files import printable
from pkdlib.data.datasets import Clip, DatasetError, Split, split_by_group
from pkdlib.data.sources import Source

DEFAULT_FOLDS = 5
FEWEST_FOLDS = 3  # one to test, one to validate, one to train
_TRIES = 200  # orders in which groups are dealt, until every fold has every class


def classes_of(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the classes of videos.

    Args:
        sources: The videos.

    Returns:
        Their names, in alphabetical order.
    """
    return tuple(sorted({source.action for source in sources}))


def divide(sources: Sequence[Source], num_folds: int, seed: int = 0) -> list[list[str]]:
    """Cut the groups of videos into folds that have every class each, so that every part of every split has.

    Args:
        sources: The videos.
        num_folds: Number of folds, at least 3.
        seed: Decides which of several equally good divisions is taken.

    Returns:
        The groups of each fold.

    Raises:
        DatasetError: If there is no such division; it says for want of which class and groups, and what would do.
    """
    classes = classes_of(sources)
    if len(classes) < 2:
        raise DatasetError(
            f"{printable(sources[0].path.parent.parent)} has clips of one class only ({classes[0]}), at least two are "
            "needed"
        )
    reason = _reason_against(sources, num_folds, seed)
    if not reason:
        return _folds(sources, num_folds, seed)
    fewer = range(min(num_folds - 1, len(_groups_of(sources))), FEWEST_FOLDS, -1)
    for other in (*fewer, FEWEST_FOLDS):
        if not _reason_against(sources, other, seed):
            raise DatasetError(f"{reason}; folds = {other} would do")
    raise DatasetError(
        f"{reason}; no number of folds does: every class needs clips of at least {FEWEST_FOLDS} groups, to spread over "
        "the folds; film more, or take a pattern that tells more groups apart"
    )


def fold_splits(clips: tuple[Clip, ...], folds: Sequence[Sequence[str]]) -> tuple[Split, ...]:
    """Make the splits of disjoint folds: test on one, validate on the next, train on the rest.

    Args:
        clips: All clips of the data set.
        folds: The groups of each fold.

    Returns:
        As many splits as folds.
    """
    following = [*folds[1:], folds[0]]
    return tuple(
        split_by_group(clips, validation=set(validation), test=set(test))
        for test, validation in zip(folds, following, strict=True)
    )


def _reason_against(sources: Sequence[Source], num_folds: int, seed: int) -> str:
    # Why so many folds cannot be made, or not so that each has every class; empty if they can.
    if num_folds < FEWEST_FOLDS:
        return f"folds = {num_folds} must be at least {FEWEST_FOLDS}: one to test, one to validate, the rest to train"
    groups = _groups_of(sources)
    if len(groups) < num_folds:
        return f"{len(groups)} groups ({', '.join(groups)}) are too few for {num_folds} folds"
    for action in classes_of(sources):
        own = _groups_of(source for source in sources if source.action == action)
        if len(own) < num_folds:
            return (
                f"the clips of {action} are of {len(own)} groups ({', '.join(own)}), too few for {num_folds} folds: "
                "some splits would have none to test, or to validate"
            )
    for number, fold in enumerate(_folds(sources, num_folds, seed)):
        lacking = set(classes_of(sources)) - {source.action for source in sources if source.group in fold}
        if lacking:
            return f"groups of several classes divide badly: fold {number} ({', '.join(fold)}) lacks {min(lacking)}"
    return ""


def _groups_of(sources: Iterable[Source]) -> list[str]:
    return sorted({source.group for source in sources})


def _folds(sources: Sequence[Source], num_folds: int, seed: int) -> list[list[str]]:
    # The first division in which every fold has every class, or else the first of all.
    classes, groups = classes_of(sources), _groups_of(sources)
    numbers = {group: number for number, group in enumerate(groups)}
    counts = np.zeros((len(groups), len(classes)), np.int64)
    for source in sources:
        counts[numbers[source.group], classes.index(source.action)] += 1
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    first = _dealt(counts, order[np.argsort(-counts[order].sum(axis=1), kind="stable")], num_folds)
    others = (_dealt(counts, rng.permutation(len(groups)), num_folds) for _ in range(_TRIES))
    dealt = next(
        (own for own in itertools.chain([first], others) if all(counts[fold].any(axis=0).all() for fold in own)), first
    )
    return [sorted(groups[group] for group in fold) for fold in dealt]


def _dealt(counts: np.ndarray, order: np.ndarray, num_folds: int) -> list[list[int]]:
    # Greedy: each group to the fold that has fewest clips of its classes so far.
    filled = np.zeros((num_folds, counts.shape[1]), np.int64)
    folds: list[list[int]] = [[] for _ in range(num_folds)]
    for group in order:
        overlap = filled @ counts[group]
        fold = min(range(num_folds), key=lambda k: (overlap[k], filled[k].sum()))
        filled[fold] += counts[group]
        folds[fold].append(group)
    return folds
