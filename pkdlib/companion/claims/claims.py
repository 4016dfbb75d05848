"""The paper's claims and its published numbers, as data, each with its source.

`CLAIMS` says what is to be checked; `verdicts` checks it. `PUBLISHED` and `PUBLISHED_GAINS` are what the authors
report, kept beside what is measured here and never mixed with it. The body of the paper was not available when this
was written: what only the body says (the flatness measure and its values, the table of internal classifiers) is
called unknown.
"""

from dataclasses import dataclass
from typing import Literal

from pkdlib.companion.flatness_controls import CONTROLS, MEASURES, PRIMARY_MEASURE, SAME

ABSTRACT = "arXiv 2407.02713, abstract"
NOTEBOOKS = "notebook outputs in the authors' repository (Efstathia-Soufleri/PKD, commit e227377)"
IMAGES = "read off the charts in the authors' README (accuracy +-0.02, total cost +-0.2k GMAC)"

# Over the three splits; the authors' TEAM-Net code misses 6 and 3 of them, less than 0.1 %.
_TEST_CLIPS = {"ucf101": 11_213, "hmdb51": 4_590}


@dataclass(frozen=True)
class PublishedResult:
    """One point of the authors' tables of accuracy against cost, over the three splits of a data set.

    Attributes:
        dataset: "ucf101" or "hmdb51".
        system: whose result it is.
        setting: segments of (motion, residual, iframe) or the threshold of leaving, as reported.
        accuracy: top-1, per cent.
        total_gmac: 1e9 multiply-accumulates over all test clips (the TEAM-Net rows count 2**30).
        source: where the number stands.
    """

    dataset: str
    system: str
    setting: str
    accuracy: float
    total_gmac: float
    source: str

    @property
    def protocol(self) -> str:
        """How the point came about."""
        return PROTOCOLS.get(self.system, _REPORTED)

    @property
    def gmac(self) -> float:
        """Cost of one clip, in the unit of `total_gmac`: computed here."""
        return self.total_gmac / _TEST_CLIPS[self.dataset]


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, or that its reading raises, and how it is judged.

    Attributes:
        id: short name, the key in tables.
        title: a few words.
        statement: what would have to be true.
        source: who says so, and where.
        paper_figure: the paper's number, or that it is unknown.
        kind: "difference" (a gain, in points), "maximum" (an "up to" gain), "order" (of log ratios, no margin),
            "correlation" (no margin) or "non-inferior" (as good as).
        notebook: the page that measures it.
        tables: the result tables it is judged from.
        primary: name of the comparison that gives the claim's verdict, one for each kind of backbone where they differ;
            any other comparison of the claim is secondary.
        finding: what was found, in words that `tests/companion/book/test_conclusions.py` holds against the results.
        caveat: what limits the comparison with the paper, said beside every verdict.
        not_measured: why there is no measurement yet; empty where there is.
    """

    id: str
    title: str
    statement: str
    source: str
    paper_figure: str
    kind: Literal["difference", "maximum", "order", "correlation", "non-inferior"]
    notebook: str
    tables: tuple[str, ...] = ()
    primary: tuple[str, ...] = ()
    finding: str = ""
    caveat: str = ""
    not_measured: str = ""


_SHARPNESS = MEASURES[PRIMARY_MEASURE]

# The abstract's largest gains in points: internal classifiers trained by PKD over cross-entropy, and WISE.
PUBLISHED_GAINS = {
    "ic-gain-largest": {"ucf101": 5.87, "hmdb51": 11.42},
    "wise-gain-largest": {"ucf101": 4.28, "hmdb51": 9.30},
}

_OURS = "PKD + WISE on CoViAR"
_TEAM = "PKD + WISE on TEAM-Net"

# How a system's points came about, as far as its code shows; all are on the official test lists.
PROTOCOLS = {
    _OURS: "each exit at its best epoch by test accuracy",
    _TEAM: "the same; cost of the clips classified rightly alone",
}
_REPORTED = "as the authors of PKD report it"

PUBLISHED = (
    PublishedResult("ucf101", _OURS, "(3,5,3), never leaving", 92.767, 508_734, NOTEBOOKS),
    PublishedResult("ucf101", _OURS, "(3,3,3)", 92.552, 440_649, NOTEBOOKS),
    PublishedResult("ucf101", _OURS, "(1,1,1)", 88.414, 147_391, NOTEBOOKS),
    PublishedResult("ucf101", _OURS, "(1,2,1)", 90.556, 179_791, NOTEBOOKS),
    PublishedResult("ucf101", _OURS, "(1,2,2)", 91.671, 261_876, NOTEBOOKS),
    PublishedResult("ucf101", _TEAM, "threshold 0.917", 92.81, 604_500, IMAGES),
    PublishedResult("ucf101", _TEAM, "threshold 0.825", 91.75, 574_900, IMAGES),
    PublishedResult("ucf101", _TEAM, "threshold 0.733", 89.99, 543_700, IMAGES),
    PublishedResult("ucf101", "TEAM-Net, retrained by the authors", "", 93.355, 646_582, NOTEBOOKS),
    PublishedResult("ucf101", "CoViAR", "3 + 11 + 11 segments", 93.1, 543_903, NOTEBOOKS),
    PublishedResult("ucf101", "Wu et al.", "cost of one crop", 88.5, 471_706, NOTEBOOKS),
    PublishedResult("ucf101", "MIMO", "", 85.8, 172_587, NOTEBOOKS),
    PublishedResult("hmdb51", _OURS, "(3,5,3), never leaving", 68.105, 208_248, NOTEBOOKS),
    PublishedResult("hmdb51", _OURS, "(5,5,3)", 68.497, 235_102, NOTEBOOKS),
    PublishedResult("hmdb51", _OURS, "(1,1,1)", 60.305, 56_340, NOTEBOOKS),
    PublishedResult("hmdb51", _OURS, "(1,2,2)", 65.054, 107_408, NOTEBOOKS),
    PublishedResult("hmdb51", _TEAM, "threshold 0.642", 64.22, 245_000, IMAGES),
    PublishedResult("hmdb51", _TEAM, "threshold 0.733", 65.17, 252_400, IMAGES),
    PublishedResult("hmdb51", _TEAM, "threshold 0.825", 65.94, 258_100, IMAGES),
    PublishedResult("hmdb51", _TEAM, "threshold 0.917", 66.2, 262_000, IMAGES),
    PublishedResult("hmdb51", "TEAM-Net, retrained by the authors", "", 66.056, 264_639, NOTEBOOKS),
    PublishedResult("hmdb51", "CoViAR", "3 + 11 + 11 segments", 68.0, 222_615, NOTEBOOKS),
    PublishedResult("hmdb51", "Wu et al.", "cost of one crop", 56.2, 193_065, NOTEBOOKS),
    PublishedResult("hmdb51", "MIMO", "", 58.6, 70_639, NOTEBOOKS),
)


def _up_to(claim: str) -> str:
    gains = PUBLISHED_GAINS[claim]
    return f"up to {gains['ucf101']:.2f} points on UCF-101, {gains['hmdb51']:.2f} on HMDB-51"


CLAIMS = (
    Claim(
        id="ic-gain",
        title="PKD improves internal classifiers",
        statement="PKD makes internal classifiers more accurate than training by cross-entropy does, on the mean over "
        "all exits of all networks.",
        source=ABSTRACT,
        paper_figure="unknown for single exits",
        kind="difference",
        notebook="05_teachers",
        tables=("exits",),
        primary=("PKD - CE, mean over all exits",),
        finding="Where PKD's last teacher is the strongest network, the paper's exits together gain less than a point "
        "on Marionette; on UCF-101 no gain of theirs is shown, but light exits gain a point. On Marionette 1 that "
        "teacher is the weakest, and PKD costs ten points or more.",
        caveat="PKD spends most of its epochs on the I-frame network's lessons, which the paper takes for the network "
        "that generalises best; where it does not, as on Marionette 1, its mistakes are taught. In the paper's code "
        "PKD also has twice the epochs, and cross-entropy alone trains a bias; here both have the same.",
    ),
    Claim(
        id="ic-gain-largest",
        title="PKD improves internal classifiers, largest gain",
        statement="At the exit where it helps most, PKD makes an internal classifier more accurate than training "
        "by cross-entropy does.",
        source=ABSTRACT,
        paper_figure=_up_to("ic-gain-largest"),
        kind="maximum",
        notebook="05_teachers",
        tables=("exits",),
        primary=("PKD - CE, largest over the exits",),
        finding="Of all exits of the paper's kind only the residual network's three on Marionette show a gain, of two "
        "to three points. The abstract reports the largest gain, so this row looks at the best exit alone: it hides "
        "what PKD does to all others.",
        caveat="The paper's code trains PKD twice as long as cross-entropy and picks epochs on test clips; here "
        "budgets are equal. Which teacher is good differs, too: see the claim on each exit.",
    ),
    Claim(
        id="ic-curriculum",
        title="The order of teachers matters",
        statement="Learning from motion, then residual, then I-frame teachers beats other orders and single "
        "teachers at equal budget.",
        source=ABSTRACT,
        paper_figure="unknown",
        kind="difference",
        notebook="05_teachers",
        tables=("trials",),
        primary=("PKD - iframe, paper classifiers", "PKD - iframe, squeezed classifiers"),
        finding="With the paper's classifiers, three teachers in turn are nowhere shown to beat the last of them, the "
        "I-frame network, alone. With light ones they do, on UCF-101 and on both Marionettes.",
        caveat="The last teacher takes most of the epochs, so PKD differs least from learning from the I-frame "
        "network alone. The paper takes that network for the one that generalises best; on Marionette 1 it is the "
        "least accurate, which decides much of it.",
    ),
    Claim(
        id="cross-fitted",
        title="A teacher that has not seen the clip teaches better",
        statement="Internal classifiers learn more from I-frame networks that were trained without the clip's group "
        "than from one that knows it by heart.",
        source="asked by this reproduction: a network's answers to its own training clips are nearly the labels",
        paper_figure="none given",
        kind="difference",
        notebook="05_teachers",
        tables=("crossfit", "trials"),
        primary=("iframe with a cross-fitted teacher - iframe, mean over all exits",),
        finding="No gain is shown by the two seeds that were run on UCF-101.",
        caveat="Each cross-fitted network was trained on fewer clips, so it is weaker; the classifiers are light ones.",
    ),
    Claim(
        id="wise-gain-largest",
        title="WISE gains more from PKD's exits, largest gain",
        statement="At the number of exits where it helps most, WISE is more accurate than what it is compared with.",
        source=ABSTRACT,
        paper_figure=_up_to("wise-gain-largest"),
        kind="maximum",
        notebook="06_wise",
        tables=("ensembles",),
        primary=("WISE on PKD exits - WISE on CE exits, largest over the prefixes",),
        finding="That WISE gains more from exits trained by PKD than from exits trained on labels is shown on "
        "Marionette alone, by three points at the number of exits where it helps most.",
        caveat="The abstract's gain is over cross-entropy, and what that means is ambiguous, so several readings "
        "are measured.",
    ),
    Claim(
        id="wise-fusion",
        title="WISE over all exits beats simpler fusion",
        statement="The weighted sum of all exits is more accurate than the last exit alone, than equal "
        "weights, and than late fusion of the three bare networks.",
        source="asked by this reproduction: the reference code falls back on the I-frame network alone where WISE "
        "is switched off, and so credits WISE with the gain of fusion",
        paper_figure="none given",
        kind="difference",
        notebook="06_wise",
        tables=("ensembles",),
        primary=("WISE over all exits - late fusion of bare networks, fitted weights",),
        finding="With three networks WISE beats the last exit alone in every study but on Marionette, where that exit "
        "is as good as all, and the late fusion of these networks, bare, in none: its gain is that of fusion.",
        caveat="Fusion of three networks is credited to WISE where it is compared with one; late fusion of the bare "
        "networks, at less cost, separates the two. Few validation clips also cost the fitted weights.",
    ),
    Claim(
        id="bare-fusion",
        title="Late fusion of bare networks is as good as WISE",
        statement="Fusing the three networks' own outputs, without any internal classifier, is as accurate as WISE "
        "over all exits.",
        source="asked by this reproduction: the bare networks cost about 59 % of what the paper's full system does",
        paper_figure="none given",
        kind="non-inferior",
        notebook="06_wise",
        tables=("ensembles",),
        primary=("late fusion of bare networks, fitted weights - WISE over all exits",),
        finding="Late fusion, which needs no exits, is as good as WISE in every study but that on UCF-101 with the "
        "strong I-frame network, where the interval is too wide to tell.",
        caveat="The fused networks are the same, so only the exits and their weights differ.",
    ),
    Claim(
        id="early-exit",
        title="Early exit beats fewer segments",
        statement="At the same measured cost, the cascade of exits is more accurate than late fusion of networks "
        "without exits on fewer segments.",
        source=f"{ABSTRACT}; the rival, missing there, is this reproduction's",
        paper_figure="none given: leaving early saves at most 7 % of the cost at its published points",
        kind="difference",
        notebook="07_leaving_early",
        tables=("early_exit",),
        primary=("cascade of the paper's classifiers, by PKD - fewer segments, at equal cost",),
        finding="With small networks leaving early is nowhere shown to beat reading fewer segments, and mostly it is "
        "worse. With the paper's networks on Marionette 1 it is undecided.",
        caveat="The paper's classifiers cost as much as much of their network, so light ones are measured beside them; "
        "here every clip is charged for the exit where it leaves, right or wrong.",
    ),
    Claim(
        id="early-exit-half",
        title="Early exit halves the cost without loss",
        statement="With light internal classifiers, a policy chosen on validation is as accurate as running all three "
        "networks to their ends, at no more than half the cost on test clips.",
        source="asked by this reproduction",
        paper_figure="none given",
        kind="non-inferior",
        notebook="07_leaving_early",
        tables=("policies", "latency"),
        primary=("policy for at most 50 % of the cost on validation - running everything",),
        finding="On UCF-101 half the cost loses more than three points. Without loss it is shown on Marionette, and "
        "for the paper's networks on Marionette 1.",
        caveat="The budget is asked of the validation clips; what the test clips cost is what is told here. The three "
        "budgets were fixed beforehand, but only the half was to be judged; the others joined after results were seen.",
    ),
    *(
        Claim(
            id=id_,
            title=f"Flatness differs by modality: {CONTROLS[control].title}",
            statement="The I-frame network ends in the flattest minimum, then the residual's; the motion network's is "
            "the sharpest.",
            source=ABSTRACT,
            paper_figure="unknown: neither the measure nor its values are public",
            kind="order",
            notebook="03_flatness",
            tables=("flatness",),
            primary=(f"{_SHARPNESS}, motion / iframe",),
            finding=finding,
            caveat=caveat,
        )
        for id_, control, finding, caveat in (
            (
                "flatness-order",
                SAME,
                "On Marionette the motion network's minimum is twice as sharp as the I-frame network's, but its "
                "training loss is about twice as high, and the residual network's minimum is sharper than both. On "
                "UCF-101 and Marionette 1 the I-frame network's is the sharper one: on Marionette 1 its training loss "
                "is higher, too; on UCF-101 it is lower. On UT-Interaction the two cannot be told apart.",
                "Architecture and recipe are the same for all; how low each loss has come, and the inputs, differ.",
            ),
            (
                "flatness-matched",
                "matched",
                "At equal training loss the motion and the I-frame network cannot be told apart, on either Marionette.",
                "Architecture, recipe, and loss on the clips measured are the same for all; the inputs differ, and a "
                "network that came down earlier was left at a higher learning rate.",
            ),
            (
                "flatness-mix",
                "mix",
                "With an I-frame network that is deeper and learns at a lower rate, as in the paper, its minimum is "
                "sharper than the motion network's, against the paper's order: four times as sharp on Marionette, "
                "thirty on Marionette 1, a hundred on UCF-101.",
                "As in the paper, the I-frame network is deeper and learns at a lower rate: the order is confounded.",
            ),
        )
    ),
    Claim(
        id="flatness-generalisation",
        title="The flatter of three networks generalises better",
        statement="Of a run's three networks, the flatter has the smaller gap between test and training loss.",
        source=ABSTRACT,
        paper_figure="unknown",
        kind="correlation",
        notebook="03_flatness",
        tables=("flatness",),
        primary=(f"{_SHARPNESS}, over the three networks of a run",),
        finding="On Marionette 1 and UT-Interaction the sharper of a run's three networks has the larger gap. But the "
        "three read different inputs, which may be the whole reason: among networks of one modality this measure "
        "shows no relation. On UCF-101 and Marionette one split and five seeds do not decide it.",
        caveat="Rank correlation over three networks that read different inputs: inputs alone may make the gap.",
    ),
    Claim(
        id="ic-flatness",
        title="PKD makes internal classifiers flatter",
        statement="Internal classifiers trained by PKD end in flatter minima than those trained by cross-entropy.",
        source=ABSTRACT,
        paper_figure="unknown",
        kind="order",
        notebook="03_flatness",
        tables=("flatness_exits",),
        primary=(f"{_SHARPNESS}, CE / PKD, mean over the exits",),
        finding="On Marionette 1 PKD's classifiers are the flatter ones by this measure, by about a tenth; on "
        "Marionette they are the sharper ones by as much, and on UCF-101 by four percent. By the traces of their "
        "Hessian they are the sharper ones on Marionette 1 and UCF-101.",
        caveat="Both are measured on the labels' cross-entropy, on which only one was trained: their losses differ.",
    ),
    Claim(
        id="transfer",
        title="PKD and WISE transfer to TEAM-Net",
        statement="The gains carry over to a second, jointly trained architecture.",
        source=ABSTRACT,
        paper_figure="92.81 % on UCF-101, 66.2 % on HMDB-51 at its highest threshold (read off charts)",
        kind="difference",
        notebook="09_verdicts",
        tables=("exits", "ensembles"),
        primary=("PKD - CE, mean over all exits",),
        finding="In the few runs that there are, PKD makes TEAM-Net's exits less accurate by 15 points or more.",
        caveat="The paper's own retraining of TEAM-Net is weaker than the published one; costs were counted for right "
        "answers only.",
    ),
    Claim(
        id="protocol",
        title="The reference's protocol enlarges the gains",
        statement="With all of the reference's choices of protocol together a gain comes out larger than without them.",
        source="asked by this reproduction: the choices are those of the authors' code (selection on test clips, twice "
        "the epochs for PKD, drifting batch norm, weights fitted on training logits, an unfused baseline, the cost of "
        "right answers only)",
        paper_figure="none given",
        kind="difference",
        notebook="08_protocol",
        tables=("audit",),
        primary=("PKD - CE: all together - clean",),
        finding="The choices of the authors' code together raise PKD's gain over labels by three to seven points, in "
        "every study that measured it. WISE's gain they raise in every study but on Marionette.",
        caveat="The classifiers are light ones, trained for this comparison alone.",
    ),
)
