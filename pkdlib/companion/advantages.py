"""When a teacher helps: what learning from it gains over labels, against how much better than the student it is.

A *point* is one teacher of one exit: its *gain* is the test accuracy of the classifiers that learned from this teacher
less that of those that learned from labels at equal budget, its *advantage* the validation accuracy of the teacher's
network less that of the student's own, both in percentage points and means over runs and groups. Validation, since
whoever chooses a teacher has no test clips.

Points share networks, runs and clips. So a line through them has its interval not from how they scatter about it but
from the *cells* (a run and a group) that they are means of. A table of cells has a column a point; a row is a cell of
the test part, with the differences that make up gains, or of the validation part, with those of advantages, and empty
where a point has no such cell. Studies of one *source* of clips share groups and seeds; their cells meet in one row.

Sources: Cameron, Gelbach, Miller (2011) as in `intervals`, applied to the line's influence function; Fuller (1987),
Measurement error models, section 1.1, for what chance in advantages does to a slope.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy import stats

from pkdlib.companion import results
from pkdlib.companion.names import study_name
from pkdlib.companion.presets import LIGHT_KINDS
from pkdlib.distillation.schedules import LABELS, METHODS, OWN, Method, canonical
from pkdlib.statistics import intervals
from pkdlib.statistics.differences import NotMeasured, Tables, required
from pkdlib.statistics.intervals import CELL, RUN

POINT = ["data", "source", "kind", "student", "exit", "method", "teacher"]
# Of one seed, what chance did in training cannot be told from what the teacher did.
FEWEST_SEEDS = 2
LEVEL = 0.95

# Names of sets of points: of light classifiers, of the paper's; and how those without a study begin.
ALL, PAPER, WITHOUT = "all", "the paper's classifiers", "without "

_TRIAL = ["kind", "modality", "exit", "method"]
_FINAL = 4  # a network's own end
_STEP = 0.1  # points of advantage between the places where a line's interval is compared with 0

# How each row of a table of cells moves some numbers, (rows, numbers), with its run and its group as indices.
_Influence = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Line:
    """A fitted line: the gain at an advantage, with its interval.

    Args:
        shape: `straight`, or `bent` at equal accuracy.
        num_points: That it was fitted to.
        reliability: The share of the spread of the measured advantages that is no chance, 0 to 1. Chance flattens
            slopes, as a rule to no less than this share of them.
        seen: The smallest and the largest of these advantages.
        intercepts: Weights of the coefficients that are intercepts; they sum to 1.
        coefficients: (k,), the intercepts and then the slopes.
        influences: How the cells of each source move the coefficients.
    """

    shape: str
    num_points: int
    reliability: float
    seen: tuple[float, float]
    intercepts: np.ndarray
    coefficients: np.ndarray
    influences: tuple[_Influence, ...]

    def at(self, advantages: Sequence[float]) -> pd.DataFrame:
        """Give the line at some advantages.

        Args:
            advantages: Percentage points.

        Returns:
            advantage, estimate, low, high: the gain there in percentage points, each interval by itself at `LEVEL`.
        """
        slopes, _ = _shaped(np.asarray(advantages, float), self.shape)
        found = self._intervals(np.hstack([np.tile(self.intercepts, (len(slopes), 1)), slopes]))
        return found.assign(advantage=advantages)

    def slopes(self) -> pd.DataFrame:
        """Give what a point of advantage adds to the gain.

        Returns:
            estimate, low, high in points: one row for a straight line; for a bent one below equal accuracy, above it,
            and what is above less what is below.
        """
        each = np.eye(len(self.coefficients) - len(self.intercepts))
        wanted = np.vstack([each, each[1:] - each[:-1]])
        return self._intervals(np.hstack([np.zeros((len(wanted), len(self.intercepts))), wanted]))

    def over_the_seen(self, step: float = 1.0) -> pd.DataFrame:
        """Give the line wherever advantages were seen, and nowhere beyond.

        Args:
            step: From one advantage to the next, in percentage points.

        Returns:
            The columns of `at`, at both ends and at all multiples of the step between them.
        """
        low, high = self.seen
        between = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        return self.at(np.union1d([low, high], between))

    def decided(self, sign: int) -> list[tuple[float, float]]:
        """Say where, among the advantages seen, the whole interval of the line lies on one side of 0.

        The ends towards 0 are those of the interval of the advantage at which a straight line crosses 0: `zero`.

        Args:
            sign: 1 for above 0, where teachers pay; -1 for below.

        Returns:
            The first and last advantage of every such stretch, in order.
        """
        line = self._closely
        inside = (line["low"] > 0) if sign > 0 else (line["high"] < 0)
        stretches = line[inside].groupby((inside != inside.shift()).cumsum())["advantage"]
        return [(float(low), float(high)) for low, high in stretches.agg(["min", "max"]).to_numpy()]

    def zero(self) -> tuple[float, float, float] | None:
        """Say where a straight line crosses 0.

        Returns:
            The advantage, and the ends of its interval by Fieller's method, which holds every advantage where the
            line's own interval holds 0; infinite where these go on beyond all that were seen. None where the slope's
            interval holds 0, so that there may be no crossing, or where the line crosses 0 beyond the advantages seen.
        """
        slope, line = self.slopes().iloc[0], self._closely
        crossing = -float(self.intercepts @ self.coefficients[: len(self.intercepts)]) / slope["estimate"]
        low, high = self.seen
        if slope["low"] <= 0 <= slope["high"] or not low <= crossing <= high:
            return None
        around = [crossing, *line.loc[(line["low"] <= 0) & (line["high"] >= 0), "advantage"]]
        first, last = min(around), max(around)
        return crossing, first if first > low else -np.inf, last if last < high else np.inf

    @functools.cached_property
    def _closely(self) -> pd.DataFrame:
        return self.over_the_seen(_STEP)

    def _intervals(self, weights: np.ndarray) -> pd.DataFrame:
        return _intervals(weights @ self.coefficients, self.influences, weights)


def differences(
    tables: Tables, dataset: str, data: str, methods: Mapping[str, Method] = MappingProxyType(METHODS)
) -> pd.DataFrame:
    """Give the cells of every point of some results.

    Args:
        tables: `trials` and `exits` of some runs.
        dataset: Their data set. A part of one shares its source.
        data: How these results are called.
        methods: Name -> schedule of teachers, with those of one's own.

    Returns:
        A table of cells in percentage points: index source, part, split, seed, group; columns of `POINT`. A method is
        that of a single teacher, under the name of `schedules.canonical`, or `pkd` or one's own, whose teacher is the
        last one. Only teachers whose network has an accuracy of its own in the tables count; there may be none, and so
        no column.

    Raises:
        ValueError: If a method was not tested in every run and group.
    """
    trials = required(tables, "trials", [*CELL, *_TRIAL, "lr_factor", "epochs_factor", "part", "clips", "correct"])
    exits = required(tables, "exits", [*CELL, "modality", "method", "exit", "part", "clips", "correct"])
    usual = trials[(trials["part"] == "test") & (trials["lr_factor"] == 1) & (trials["epochs_factor"] == 1)]
    ends = exits[(exits["part"] == "validation") & (exits["method"] == "backbone") & (exits["exit"] == _FINAL)]
    trained, networks = _per_cent(usual, _TRIAL), _per_cent(ends, ["modality"])
    source, found = dataset.partition("-")[0], {}
    for kind, student, number in usual[_TRIAL[:3]].drop_duplicates().itertuples(index=False):
        for method, teacher in _teachers(student, methods).items():
            if (kind, student, number, method) in trained and {teacher, student} <= set(networks):
                gain = trained[kind, student, number, method] - trained[kind, student, number, "ce"]
                parts = {"test": gain, "validation": networks[teacher] - networks[student]}
                found[data, source, kind, student, number, method, teacher] = pd.concat(parts, names=["part"])
    if not found:
        return _none()
    cells = pd.concat({source: pd.DataFrame(found).rename_axis(columns=POINT)}, names=["source"])
    if cells.isna().to_numpy().any():
        raise ValueError(f"{data}: the table 'trials' or 'exits' lacks a method in some split, seed and group")
    return cells


def studies() -> pd.DataFrame:
    """Give the cells of every point of all committed results of at least `FEWEST_SEEDS` seeds.

    The control, `results.CONTROL`, is no study of its own: its clips are some of those of the same arms.

    Returns:
        A table of cells as `differences` gives it; without columns where nothing is committed.
    """
    found = [_none()]
    for profile, dataset in results.published_sets(FEWEST_SEEDS):
        if dataset == results.CONTROL:
            continue
        try:
            found.append(differences(results.published(profile, dataset), dataset, study_name(profile, dataset)))
        except NotMeasured:
            continue
    return pd.concat(found, axis=1)


def points(cells: pd.DataFrame) -> pd.DataFrame:
    """Average cells to points, each with intervals of its own.

    Args:
        cells: A table of cells.

    Returns:
        A row a point, study by study, with the columns of `POINT` and, in percentage points, advantage, advantage_low,
        advantage_high, advantage_error (standard); gain likewise.
    """
    found = [pd.DataFrame(columns=[*POINT, *_measured("advantage"), *_measured("gain")])]
    for data in cells.columns.unique("data"):
        own = cells.loc[:, cells.columns.get_level_values("data") == data]
        frame = own.columns.to_frame(index=False)
        for name, part in (("advantage", "validation"), ("gain", "test")):
            block = own.xs(part, level="part").dropna()
            means = block.mean()
            interval = _intervals(means.to_numpy(), _by_source((block - means) / len(block)))
            frame[_measured(name)] = interval[["estimate", "low", "high", "error"]]
        found.append(frame)
    return pd.concat(found[1:] or found, ignore_index=True)


def single(cells: pd.DataFrame) -> pd.DataFrame:
    """Leave PKD out, which has several teachers, and methods of one's own.

    Args:
        cells: A table of cells.

    Returns:
        That of the points with a single teacher, through which lines are fitted.
    """
    return cells.loc[:, cells.columns.get_level_values("method").isin(METHODS.keys() - {"pkd"})]


def fit(
    cells: pd.DataFrame, shape: str = "straight", by: Sequence[str] = (), *, measured: pd.DataFrame | None = None
) -> Line:
    """Fit a line to points by least squares, every point weighing the same.

    With h a point's row of the design (intercepts, and its advantage as the shape has it), h' the derivative of h by
    the advantage, y the gain and H the matrix of all h, the coefficients are

        beta = inverse(H^T H) H^T y.

    The line is the one through the true gains and advantages of these very points, as endless runs and groups would
    show them, whether or not they lie on a line. Other data may have another: compare what is left without a study.

    Each cell moves its point's gain or advantage, and so beta, by its share in that point times

        inverse(H^T H) h      or      inverse(H^T H) (h' (y - h^T beta) - h (h'^T beta)).

    Summed over all points that a cell is in, that is its influence; the two-way variance of influences, source by
    source, is that of beta. It leaves out what `intervals.two_way_interval` does, a common effect of all runs of a
    split. By simulation (tests/companion/test_advantages.py) 95 % intervals cover 94 to 100 % of the time.

    Args:
        cells: A table of cells.
        shape: `straight`, or `bent`, with a slope of its own on either side of equal accuracy.
        by: Columns of `POINT`; their every combination has an intercept of its own, so that the slope is that between
            points that agree in them.
        measured: What `points` gives of these cells and others, for whoever fits many lines; None to compute it.

    Returns:
        The line.

    Raises:
        NotMeasured: If a point has a single cell, or there are too few points of different advantages.
    """
    measured = points(cells) if measured is None else measured
    measured = measured[pd.MultiIndex.from_frame(measured[POINT]).isin(cells.columns)]
    own = cells[pd.MultiIndex.from_frame(measured[POINT])].dropna(how="all")  # other studies' cells are none of these
    if not np.isfinite(measured[["advantage_error", "gain_error"]].to_numpy(float)).all():
        raise NotMeasured("one group in one run does not tell what is chance")
    x, y, error = (measured[name].to_numpy(float) for name in ("advantage", "gain", "advantage_error"))
    alike = measured.groupby(list(by)).ngroup() if by else pd.Series(0, measured.index)
    intercepts = pd.get_dummies(alike).to_numpy(float)
    slopes, derivatives = _shaped(x, shape)
    design, moved = np.hstack([intercepts, slopes]), np.hstack([np.zeros_like(intercepts), derivatives])
    if not len(x) or np.linalg.matrix_rank(design) < design.shape[1]:
        where = " on both sides of equal accuracy" if shape == "bent" else ""
        raise NotMeasured(f"there are too few different advantages{where}")
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    by_gain = design @ inverse
    by_advantage = ((y - design @ beta)[:, None] * moved - (moved @ beta)[:, None] * design) @ inverse
    return Line(
        shape=shape,
        num_points=len(x),
        reliability=max(float(1 - (error**2).sum() / ((x - x.mean()) ** 2).sum()), 0.0),
        seen=(float(x.min()), float(x.max())),
        intercepts=intercepts.mean(axis=0),
        coefficients=beta,
        influences=tuple(_moving(own, by_gain, by_advantage)),
    )


def selections(cells: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, tuple[str, ...]]]:
    """Name the sets of points that lines are fitted to.

    Args:
        cells: A table of cells.

    Returns:
        Name -> its table of cells, and the columns by which `fit` gives intercepts: of light classifiers all, all with
        the exits kept apart, each study, and all without each study or source; then of the paper's classifiers all.
    """
    one = single(cells)
    light = one.columns.get_level_values("kind").isin(LIGHT_KINDS)
    main, paper = one.loc[:, light], one.loc[:, ~light]
    found = {ALL: (main, ()), "all, between the teachers of one exit": (main, ("data", "student", "exit"))}
    data, source = (main.columns.get_level_values(name) for name in ("data", "source"))
    if data.nunique() > 1:
        found |= {name: (main.loc[:, data == name], ()) for name in data.unique()}
        found |= {f"{WITHOUT}{name}": (main.loc[:, data != name], ()) for name in data.unique()}
    if source.nunique() > 1:
        several = [name for name in source.unique() if data[source == name].nunique() > 1]
        found |= {f"{WITHOUT}all of {name}": (main.loc[:, source != name], ()) for name in several}
    return found | {PAPER: (paper, ())}


def _none() -> pd.DataFrame:
    index = pd.MultiIndex.from_frame(pd.DataFrame(columns=["source", "part", *CELL]))
    return pd.DataFrame(index=index, columns=pd.MultiIndex.from_frame(pd.DataFrame(columns=POINT)))


def _teachers(student: str, methods: Mapping[str, Method]) -> dict[str, str]:
    # Of methods with one teacher, and of PKD and one's own with their last: method -> the teacher's network.
    last = {name: method.stages[-1].teacher for name, method in methods.items()}
    chosen = [name for name, method in methods.items() if len(method.stages) == 1 and not method.label_weight]
    chosen += [name for name in methods if name == "pkd" or name not in METHODS]
    named = {canonical(name, student, methods): last[name] for name in chosen if last[name] != LABELS}
    return {name: student if teacher == OWN else teacher for name, teacher in named.items()}


def _per_cent(counts: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    # A row a cell, a column whatever these columns tell apart.
    return counts.assign(share=100 * counts["correct"] / counts["clips"]).pivot(
        index=CELL, columns=columns, values="share"
    )


def _measured(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high", f"{name}_error"]


def _shaped(x: np.ndarray, shape: str) -> tuple[np.ndarray, np.ndarray]:
    # The columns of the slopes (points, slopes), and their derivatives by x.
    if shape == "straight":
        return x[:, None], np.ones((len(x), 1))
    sides = np.stack([x < 0, x > 0], axis=1).astype(float)
    return sides * x[:, None], sides


def _moving(cells: pd.DataFrame, by_gain: np.ndarray, by_advantage: np.ndarray) -> Iterator[_Influence]:
    # How each cell moves what each point's gain and advantage move so, (points, numbers).
    parts = cells.index.get_level_values("part")
    moved = []
    for part, weights in (("test", by_gain), ("validation", by_advantage)):
        own = cells[parts == part]
        moved.append(((own - own.mean()) / own.count()).fillna(0.0) @ weights)
    return _by_source(pd.concat(moved))


def _by_source(influences: pd.DataFrame) -> Iterator[_Influence]:
    for _, own in influences.groupby(level="source", sort=False):
        runs, groups = (own.groupby(level=key).ngroup().to_numpy() for key in (RUN, "group"))
        yield own.to_numpy(), runs, groups


def _intervals(
    estimates: np.ndarray, influences: Iterable[_Influence], weights: np.ndarray | None = None
) -> pd.DataFrame:
    # Of what the influences move, or of its sums so weighted. Sources share nothing, so their variances add up; degrees
    # of freedom by Satterthwaite, as within each of them.
    parts = [
        intervals.two_way_variance(moved.T * len(moved), runs, groups, weights) for moved, runs, groups in influences
    ]
    variances, degrees = (np.stack(column) for column in zip(*parts, strict=True))
    variance = variances.sum(axis=0)
    with np.errstate(invalid="ignore"):  # no variance at all, or that of a single cell, which is infinite
        freedom = np.nan_to_num(variance**2 / (variances**2 / degrees).sum(axis=0), nan=1.0)
    error = np.sqrt(variance)
    reach = stats.t.ppf((1 + LEVEL) / 2, np.maximum(freedom, 1.0)) * error
    ends = {"low": estimates - reach, "high": estimates + reach}
    return pd.DataFrame({"estimate": estimates, **ends, "error": error})
