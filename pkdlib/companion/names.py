"""What readers call the things that tables name by a key: the one place for display names."""

import re
from collections.abc import Iterable


class Names(dict):
    """Names for readers; what has none, such as a method of one's own, is called as it is."""

    def __missing__(self, key: str) -> str:
        """Return the key."""
        return key


MODALITY_NAMES = {"iframe": "I-frame", "motion": "motion-vector", "residual": "residual", "joint": "joint"}
# The modality itself, where charts name what a network reads.
MODALITY_LABELS = {"iframe": "I-frame", "motion": "motion vectors", "residual": "residual", "joint": "all together"}
EXIT_LABELS = {1: "IC 1", 2: "IC 2", 3: "IC 3", 4: "final"}
KIND_NAMES = Names(
    {
        "paper": "the paper's classifiers",
        "light": "light classifiers",
        "squeezed": "classifiers on squeezed vectors",
    }
)
METHOD_NAMES = Names(
    {
        "ce": "cross-entropy",
        "pkd": "PKD",
        "self": "own end",
        "iframe": "I-frame teacher",
        "anti": "PKD reversed",
        "swapped": "PKD, residual first",
        "pkd_reference": "PKD, own end last",
        "motion_only": "motion teacher",
        "residual_only": "residual teacher",
        "pkd+labels": "PKD with labels",
        "backbone": "backbone",
    }
)
RULE_NAMES = Names(
    {
        "wise": "WISE",
        "wise_nonnegative": "WISE, none below 0",
        "wise_l1": "WISE with L1",
        "wise_train": "WISE on training logits",
        "uniform": "uniform mean",
        "tempered": "mean at own temperatures",
        "stacking": "stacking",
        "no_scaling": "reference: no scaling",
        "no_lateral": "reference: no lateral",
        "last": "last exit alone",
        "late_equal": "late fusion, equal weights",
        "late_fitted": "late fusion, fitted weights",
    }
)
DATASET_LABELS = Names(
    {
        "ucf101": "UCF-101",
        "hmdb51": "HMDB-51",
        "marionette": "Marionette",
        "marionette_1": "Marionette 1",
        "ut_interaction": "UT-Interaction",
    }
)
# Committed results of two seeds for what a teacher's advantage is worth, by profile and data set; a digest of the
# changed parameter stands behind the profile.
DIAL_STUDIES = {
    ("full-2ba049fa", "marionette_1"): "Marionette 1, scene bias 0.3",
    ("full-8d9935a2", "marionette"): "Marionette, appearance 0",
    ("full-3bbbe11d", "marionette"): "Marionette, appearance 0.4",
    ("full-d1e5a287", "marionette"): "Marionette, appearance 0.6",
    ("full-0c560102", "marionette"): "Marionette, appearance 1",
}
# All committed results. UCF-101 is a part of it everywhere: 25 of its 101 classes.
STUDY_NAMES = {
    ("full-lite", "ucf101-25"): "UCF-101, strong I-frame network",
    ("full", "ucf101-25"): "UCF-101, plain I-frame network",
    ("full", "marionette"): "Marionette",
    ("full", "marionette_1"): "Marionette 1",
    ("large", "marionette_1"): "Marionette 1, the paper's networks",
    ("full", "ut_interaction"): "UT-Interaction",
    ("quick", "marionette"): "Marionette, one short run",
    ("quick", "marionette_1"): "Marionette 1, one short run",
    ("quick", "ut_interaction"): "UT-Interaction, short runs",
    ("full-teamnet", "ut_interaction"): "UT-Interaction, TEAM-Net",
    ("quick-teamnet", "marionette_1"): "Marionette 1, TEAM-Net",
    ("quick-teamnet", "ut_interaction"): "UT-Interaction, TEAM-Net, short runs",
    **DIAL_STUDIES,
}
CRITERION_NAMES = Names(
    {
        "max_softmax": "the most likely class",
        "margin": "its lead over the second",
        "entropy": "1 − entropy",
        "patience": "exits in a row that agree",
    }
)
# In charts that show them alike.
SERIES_NAMES = Names({**METHOD_NAMES, **RULE_NAMES, **KIND_NAMES})


def order_name(order: Iterable[str]) -> str:
    """Write the order in which a cascade visits its networks.

    Args:
        order: What they read.

    Returns:
        Such as `residual, motion vectors, I-frame`.
    """
    return ", ".join(MODALITY_LABELS[name] for name in order)


def in_words(comparison: str) -> str:
    """Write a comparison's name without keys.

    Args:
        comparison: Such as `PKD - iframe, light classifiers`.

    Returns:
        Such as `PKD - I-frame teacher, light classifiers`.
    """
    methods = "|".join(re.escape(key) for key in METHOD_NAMES)
    told = re.sub(rf"(?:(?<=- )|^)({methods})(?=,| with)", lambda key: METHOD_NAMES[key[1]], comparison)
    return re.sub(r"\b(iframe|motion)(?= exit|$)", lambda key: MODALITY_NAMES[key[1]], told).replace(
        "iframe", "I-frame"
    )


def study_name(profile: str, dataset: str) -> str:
    """Name committed results for readers.

    Args:
        profile: Of the runs.
        dataset: Of the runs.

    Returns:
        Such as `UCF-101, strong I-frame network`; data set and profile where these have no name.
    """
    return STUDY_NAMES.get((profile, dataset), f"{dataset} ({profile})")


def dataset_name(dataset: str) -> str:
    """Name a data set for readers, a part of one by the whole's name.

    Args:
        dataset: Such as `ucf101-25`.

    Returns:
        Such as `UCF-101`.
    """
    return DATASET_LABELS[dataset.partition("-")[0]]
