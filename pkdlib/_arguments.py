"""The words of `pkd`: its commands, their options, and what `--help` says of them."""

import argparse
import os
import sys
from typing import Any, NoReturn

from pkdlib import __version__, _files, _resources
from pkdlib.data import folds

USAGE_ERROR = 2
_NEEDS = {"train": "pkdlib[train]", "predict": "pkdlib[train]", "export": "pkdlib[train]", "data": "pkdlib[train]"}


def parser() -> argparse.ArgumentParser:
    """Make the parser of `pkd`.

    Returns:
        The parser. What it finds has `command`, which is asked for, and `needs`, what to install for it.
    """
    top = _Parser(
        prog="pkd",
        description="Action recognition in compressed video: decode, reproduce the study, predict.",
        epilog="`pkd COMMAND --help` says what each does, with an example and how long it takes.",
        formatter_class=_Formatter,
    )
    top.add_argument("--version", action="version", version=f"pkd {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")

    command = _add(commands, "inspect", "what a compressed video, or a folder of them, holds", _INSPECT_HELP)
    command.add_argument("clip", metavar="CLIP", help="a video file: MPEG-4 Part 2, H.264, MPEG-2, ...; or a folder")
    command.add_argument("--picture", metavar="PNG", help="where to write the picture (CLIP's name.modalities.png)")
    command.add_argument("--pattern", metavar="RE", default="", help="folder: as for `pkd reproduce`")
    command.add_argument(
        "--folds", type=int, metavar="N", default=folds.DEFAULT_FOLDS, help="folder: parts to cut it into (%(default)s)"
    )

    command = _add(commands, "reproduce", "run the study's notebooks", _REPRODUCE_HELP)
    _add_parameters(command)
    command.add_argument(
        "--only",
        metavar="NN",
        nargs="+",
        default=[],
        help="only these notebooks, by number or name: --only 02 05",
    )
    command.add_argument("--target", metavar="DIR", help="write the executed notebooks there (the run folder)")

    command = _add(commands, "predict", "recognise the action in a clip", _PREDICT_HELP)
    command.add_argument("clip", metavar="CLIP", help="a video file that `pkd inspect` can read")
    command.add_argument(
        "--model",
        metavar="NAME",
        help=f"{' or '.join(_resources.MODELS)}, which come with pkdlib (the first), or a folder of `pkd export`",
    )

    command = _add(commands, "train", "train one network, on several GPUs if need be", _TRAIN_HELP)
    command.add_argument(
        "network",
        help="what it reads: iframe, motion or residual; of teamnet: joint; or exits, the internal classifiers of all",
    )
    _add_parameters(command)

    command = _add(commands, "export", "write out a run's weights and logits", _EXPORT_HELP)
    _add_parameters(command)
    command.add_argument("--target", metavar="DIR", help="write weights and logits there (export)")
    command.add_argument("--results", metavar="DIR", help="write the tables there, as results/ holds them to commit")
    command.add_argument("--tables", nargs="+", default=(), metavar="NAME", help="of the tables, write these alone")
    command.add_argument("--model", metavar="DIR", help="write the first run's model there, in half precision")
    command.add_argument(
        "--steps", metavar="DIR", help="write the finished steps there, as results/ holds them for pages"
    )
    command.add_argument("--recording", metavar="DIR", help="write there what the book's page trains light exits on")

    command = _add(commands, "data", "prepare UCF-101 or HMDB-51", _DATA_HELP)
    command.add_argument("dataset", choices=("ucf101", "hmdb51"), help="which data set")
    command.add_argument("--root", metavar="DIR", required=True, help="the folder to prepare it in")
    command.add_argument(
        "--archive", metavar="FILE", nargs="+", default=[], help="archives of the videos that you have (downloaded)"
    )
    command.add_argument("--clips", metavar="DIR", help="make a part: of the videos in this folder, whichever they are")
    command.add_argument("--classes", metavar="A,B", default="", help="of --clips, take these classes alone (all)")
    command.add_argument(
        "--lists", "--splits", metavar="PATH", help="the official lists, a folder or their archive (downloaded)"
    )
    command.add_argument(
        "--workers", type=int, metavar="N", default=os.cpu_count() or 1, help="processes that transcode (%(default)s)"
    )

    command = _add(commands, "clean", "what the caches hold; remove it", _CLEAN_HELP)
    command.add_argument("what", metavar="FOLDER", nargs="*", help="only these, as the list names them")
    command.add_argument("--runs", metavar="DIR", default="runs", help="the run folder (%(default)s)")
    command.add_argument("--yes", action="store_true", help="remove what is listed")

    command = _add(commands, "book", "build the book from the executed notebooks", _BOOK_HELP)
    command.add_argument("--root", metavar="DIR", help="build another folder, laid out like a checkout (this checkout)")
    command.add_argument("--pdf", action="store_true", help="print it as one PDF, too: _build/html/book.pdf")
    return top


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="quick", help="smoke, quick, full, large or paper (%(default)s)")
    command.add_argument(
        "--dataset", help="marionette (generated; the default), marionette_1, ut_interaction, ucf101, hmdb51 or folder"
    )
    command.add_argument("--root", metavar="DIR", help="where the data set's clips lie")
    command.add_argument("--pattern", metavar="RE", help="folder: regular expression whose group names a clip's group")
    command.add_argument("--backbone", help="coviar (a network a modality; the default) or teamnet (one for all three)")
    command.add_argument("--split", type=int, metavar="K", help="one split, from 0 (all of the profile's)")
    command.add_argument("--seed", type=int, metavar="S", help="one seed, from 0 (all of the profile's)")
    command.add_argument("--runs", metavar="DIR", help="folder of the runs (runs)")
    command.add_argument(
        "--keep", action="store_true", help="show finished steps although the code that made them has changed"
    )
    command.add_argument(
        "--limit-epochs", type=int, metavar="N", help="no training of more epochs, to try a profile out"
    )
    command.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other parameter; may be repeated",
    )


def complain(message: str, status: int = 1) -> int:
    """Say in one line on standard error what went wrong.

    Args:
        message: What.
        status: The exit status that it means.

    Returns:
        The exit status.
    """
    print(f"pkd: {_files.printable(' '.join(message.split()))}", file=sys.stderr)
    return status


def _add(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=description, formatter_class=_Formatter)
    command.set_defaults(command=name, needs=_NEEDS.get(name, "pkdlib[train,book]"))
    return command


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=110)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"{message} (see `{self.prog} --help`)", USAGE_ERROR))


_INSPECT_HELP = """\
Say what a compressed video holds: its codec, size, frame rate, GOPs (groups of pictures, each begun by an
I-frame) and frame types; and draw the three modalities that the networks see: I-frame, motion, residual.

Of a folder with one folder of clips for each class, say what a data set of it would be: classes, groups, folds,
clips, codecs, sizes, GOP lengths, and what is left out or cannot be read. Nothing is made.

examples:
  pkd inspect holiday.mp4 --picture holiday.png
  pkd inspect my_clips --pattern '_(s[0-9]+)_'
takes:   a second or two, for a folder some milliseconds a clip; needs the base install only (pip install pkdlib)
"""
_REPRODUCE_HELP = """\
Run the nine notebooks in order through papermill, training whatever is missing. What is finished is kept:
the same command again redoes only what changed, and goes on where Ctrl-C or a power cut stopped it, to the
same tables. Two at the same time, of two seeds say, share the run folder, but need a --target each.

examples:
  pkd reproduce --profile quick
  pkd reproduce --profile quick --dataset ut_interaction --root ../shared/clips/ut_interaction
  pkd reproduce --profile quick --dataset folder --root my_clips --pattern '_(s[0-9]+)_' --split 0
  pkd reproduce --profile quick --backbone teamnet
  pkd reproduce --profile smoke --set exit_epochs=2 --set threads=1 --only 02 04

profiles: smoke (minutes; its numbers mean nothing), quick (up to 10 minutes on 2 cores), full (up to 20
minutes for each of its 15 splits and seeds). Needs pip install 'pkdlib[train,book]'.
"""
_PREDICT_HELP = """\
Name the action in a clip, how sure the network is, at which exit it answered, and what that cost in GMAC (1e9
multiply-accumulates). It stops as soon as it is sure. It knows only the classes that it prints. A clip that is not in
the paper's form is transcoded first, as those were that it learned from.

examples:
  pkd predict basketball.mp4
  pkd predict clip.avi --model marionette
  pkd predict clip.avi --model export
takes:   a few seconds, mostly to load torch; needs pip install 'pkdlib[train]'
"""
_TRAIN_HELP = """\
Train one network of the backbone, or the internal classifiers of all its networks (exits), as `pkd reproduce` would,
which then finds them made. Started by torchrun, all GPUs of one machine train together, each on its share of every
batch: batch_parts says into how many parts a batch is cut.

examples:
  pkd train iframe --profile quick
  torchrun --nproc-per-node 4 --no-python pkd train iframe --profile paper --root ucf101 --set batch_parts=4
  torchrun --nproc-per-node 4 --no-python pkd train exits --profile paper --root ucf101 --set batch_parts=4
takes:   minutes at quick; at paper see the book's page on it; needs pip install 'pkdlib[train]'
"""
_EXPORT_HELP = """\
Write the weights (safetensors) and the logits of a run to a folder that `pkd predict --model` reads. The
parameters name the run, as they do for `pkd reproduce`.

examples:
  pkd export --profile quick --target my_weights
  pkd export --profile quick --results results --steps results --model results/model
  pkd export --profile full --dataset ucf101 --root ucf_part --set iframe_network=lite --split 0 --seed 0 \\
    --model results/model-ucf101-25 --recording results/recording/ucf101-25
takes:   seconds where the run is finished; needs pip install 'pkdlib[train]'
"""
_DATA_HELP = """\
Prepare one of the paper's data sets: download its archives or take yours, unpack them, compare the clips with the
official lists, and transcode all of them to the paper's form. The same command goes on where it ended, and a last
one finds nothing to do. It says first what it takes, and at the end which groups the official splits share.

With --clips it makes a part: of whatever original videos are in that folder. The official splits are what they list
of these; classes of which a split has too little are left out and named. The part has a name of its own, such as
ucf101-25 for 25 classes, in the folders of runs, in tables and on pages.

examples:
  pkd data ucf101 --root ucf101 --archive UCF101.rar --lists UCF101TrainTestSplits-RecognitionTask.zip
  pkd data hmdb51 --root hmdb51
  pkd data ucf101 --root ucf_part --clips UCF-101 --lists ucfTrainTestlist
  pkd data ucf101 --root two --clips UCF-101 --lists ucfTrainTestlist --classes Punch,Fencing
takes:   UCF-101 about 29 GB and half an hour of one core, HMDB-51 10 GB and ten minutes, beside the download; a part
         less in proportion; needs pip install 'pkdlib[train]', and for rar archives bsdtar (Debian's libarchive-tools)
"""
_CLEAN_HELP = """\
List what may be removed in the checkout that this folder lies in, or else in this folder, and how large it is: runs/
(trained networks, logits, tables), cache/ (generated, transcoded and decoded clips) and _build/ (executed notebooks
and the book). All of it can be made again; results/ is never touched. Nothing is removed without --yes.

examples:
  pkd clean
  pkd clean cache runs/smoke --yes
takes:   seconds
"""
_BOOK_HELP = """\
Build the book from the executed notebooks (`pkd reproduce --profile quick` makes them), warnings as errors.

example: pkd book, then open _build/html/index.html
takes:   about a minute, and with --pdf two; needs pip install 'pkdlib[train,book]' and a checkout of the repository,
         for the PDF also Chromium
"""
