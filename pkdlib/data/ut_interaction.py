"""UT-Interaction (SDHA 2010), the small real data set: two people interact, 6 classes x 20 clips.

The segmented sets 1 and 2, as `root/<class>/set{1,2}_seqNN_<index>_<sequence>_<label>.avi`. A group is a
sequence, one recording in which the same people do all six interactions. Sequences 1 to 10 are set 1 (a car
park), 11 to 20 are set 2 (a lawn); each of the five folds takes two sequences of either. Every sequence holds
each interaction once, except that as published punching is missing in sequence 6 and comes twice in sequence 8.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pkdlib.data import folder
from pkdlib.data.datasets import Dataset, DatasetError
from pkdlib.data.folds import fold_splits
from pkdlib.data.sources import find

CLASSES = ("handshaking", "hugging", "kicking", "pointing", "punching", "pushing")
SEQUENCES = tuple(f"seq{number:02d}" for number in range(1, 21))
NUM_FOLDS = 5
FOLDS = tuple(SEQUENCES[k::NUM_FOLDS] for k in range(NUM_FOLDS))
CLIPS_IN = {(action, sequence): 1 for action in CLASSES for sequence in SEQUENCES} | {
    ("punching", "seq06"): 0,
    ("punching", "seq08"): 2,
}
PATTERN = r"^set[12]_(seq\d\d)_\d+_\d+_\d\.avi$"
CITATION = (
    "M. S. Ryoo and J. K. Aggarwal, UT-Interaction Dataset, ICPR contest on Semantic Description of Human "
    "Activities (SDHA), 2010. http://cvrc.ece.utexas.edu/SDHA2010/Human_Interaction.html"
)
LICENCE = "Research data, free to use with citation; not distributed with this project."


def load(root: str | Path, cache: str | Path, *, workers: int = 1) -> Dataset:
    """Read UT-Interaction, transcoding into the cache what is not there yet.

    Args:
        root: Folder with the six class folders.
        cache: Folder for the transcoded clips.
        workers: Processes that transcode.

    Returns:
        120 clips and five splits: test on 4 sequences, validate on the next 4, train on 12.

    Raises:
        DatasetError: If clips are missing (they are named), or as for `folder.load`.
    """
    found = Counter((source.action, source.group) for source in find(root, PATTERN).sources)
    for difference, problem in ((Counter(CLIPS_IN) - found, "lacks"), (found - Counter(CLIPS_IN), "has too many")):
        if difference:
            names = ", ".join(f"{action}/{sequence}" for action, sequence in sorted(difference))
            raise DatasetError(f"{root} {problem} clips: {names} (UT-Interaction is 6 classes x 20 clips)")
    dataset = folder.load(
        root,
        cache,
        pattern=PATTERN,
        name="ut_interaction",
        num_folds=NUM_FOLDS,
        citation=CITATION,
        licence=LICENCE,
        workers=workers,
    )
    return replace(dataset, splits=fold_splits(dataset.clips, FOLDS))
