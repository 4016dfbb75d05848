"""The command line `pkd`: thin over the library; every failure is one clear line and a non-zero exit.

`pkd inspect` and `pkd clean` need the base install alone: whatever needs more is imported where it is used.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pkdlib import __version__, _files, _resources
from pkdlib.companion import store
from pkdlib.companion.profiles import ParameterError
from pkdlib.data import folds, survey
from pkdlib.video import container, pictures, reader

if TYPE_CHECKING:
    from pkdlib.companion.parameters import Parameters

_USAGE_ERROR = 2
_INTERRUPTED = 130
_EXITS = "exits"  # what `pkd train` calls the internal classifiers of all networks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `pkd`.

    Args:
        arguments: The words after `pkd`; None takes the process's own.

    Returns:
        The exit status: 0; 1 after a failure, which is one line on standard error; 2 for a command or a
        parameter that makes no sense; 130 after Ctrl-C.

    Raises:
        ModuleNotFoundError: If the package itself is broken.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is written as escapes, as on standard error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        chosen = _parser().parse_args(arguments)
        chosen.run(chosen)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on from here", _INTERRUPTED)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pkdlib":
            raise
        return _complain(f"this command needs {error.name}, which is not installed: pip install '{chosen.needs}'")
    except ParameterError as error:
        return _complain(str(error), _USAGE_ERROR)
    except OSError as error:
        return _complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except Exception as error:
        if not type(error).__module__.startswith("pkdlib."):
            raise  # a fault of ours; what the library itself raises is meant for the reader
        return _complain(str(error))
    return 0


def _inspect(chosen: argparse.Namespace) -> None:
    if Path(chosen.clip).is_dir():
        for name, value in survey.survey(chosen.clip, chosen.pattern, chosen.folds):
            _say(name, value)
    else:
        _inspect_clip(chosen)


def _inspect_clip(chosen: argparse.Namespace) -> None:
    with reader.CompressedVideo(chosen.clip) as video:
        types = collections.Counter(video.frame_types)
        lengths = [gop.length for gop in video.gops]
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(types.items()))
        _say("clip", chosen.clip)
        _say("codec", video.codec)
        _say("size", f"{video.width} x {video.height}")
        _say("frame rate", f"{float(video.frame_rate):.6g} per second")
        _say("frames", f"{video.num_frames} ({counted})")
        _say("GOPs", f"{len(lengths)}, of {survey.span(lengths)} frames")
        if video.mirrored or video.rotation:
            mirrored, turned = "mirrored, " * video.mirrored, f"turned {video.rotation} degrees counterclockwise"
            _say("shown", f"{mirrored}{turned if video.rotation else 'not turned'}; read as stored")
        if video.approximate:
            _say("motion", "approximate: the stream leaves a doubt which picture a vector refers to")
    picture = Path(chosen.picture or _files.derived(Path(chosen.clip).stem, ".modalities.png"))
    sheet = pictures.contact_sheet(chosen.clip)
    _files.write_atomically(picture, lambda temporary: temporary.write_bytes(pictures.png_bytes(sheet)))
    _say("picture", f"{picture} (frames, accumulated motion as arrows and as colours, accumulated residual)")


def _reproduce(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import data, reproduce

    parameters = _parameters(chosen)
    if parameters.root:  # before the notebooks, where progress is seen and a folder that will not do is told at once
        data.dataset(parameters)
    folder = Path(chosen.target) if chosen.target else None
    paths = reproduce.reproduce(parameters, only=chosen.only, folder=folder, log=_log)
    _say("executed", str(paths[0].parent))


def _train(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import workspace
    from pkdlib.companion.experiments import backbones, exits
    from pkdlib.training import distributed

    parameters = _parameters(chosen)
    networks = parameters.plan.networks
    if chosen.network not in (*networks, _EXITS):
        known = ", ".join(networks)
        raise ParameterError(
            f"network {chosen.network!r} is not the backbone's; its networks are: {known}; their internal classifiers: "
            f"{_EXITS}"
        )
    with distributed.joined(parameters.device):
        if distributed.number() == 0:  # the data are prepared once, before others read them
            workspace.frame_bank(parameters)
        distributed.tell(None)
        for run in workspace.selected_runs(parameters):
            if chosen.network == _EXITS:
                folders = list(dict.fromkeys(exits.of(run).steps().values()))
            else:
                folders = [backbones.backbone_step(run, chosen.network)]
            for folder in folders if distributed.number() == 0 else ():
                _say("trained", str(folder))


def _predict(chosen: argparse.Namespace) -> None:
    with container.open_stream(chosen.clip):
        pass  # a file that cannot be read is told before the seconds that torch takes to load
    from pkdlib.early_exit import predictor

    shipped = _resources.models()
    model = chosen.model or next(iter(shipped))
    answer = predictor.predict(Path(chosen.clip), shipped.get(model, Path(model)))
    _say("class", answer.label)
    _say("confidence", f"{answer.confidence:.3f}")
    _say("exit", answer.exit)
    _say("GMAC spent", f"{answer.gmac:.3f}")
    _say("model", model)
    _say("knows only", f"{len(answer.labels)} actions: {', '.join(answer.labels)}")
    drawn = answer.trained_on == "marionette"
    _say("domain", "drawn figures, as Marionette's" if drawn else f"videos of these actions, as {answer.trained_on}'s")
    _say("warning", "a clip out of its domain is answered, too, but there its answer means nothing")


def _export(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import export, reproduce

    parameters = _parameters(chosen)
    if chosen.results:
        _say("results", str(reproduce.publish(parameters, Path(chosen.results), chosen.tables)))
    if chosen.model:
        export.ship(parameters, Path(chosen.model), _log)
        _say("model", chosen.model)
    if chosen.target or not (chosen.results or chosen.model):
        target = Path(chosen.target or "export")
        export.export(parameters, target, _log)
        _say("exported", str(target))


def _data(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import workspace
    from pkdlib.companion.parameters import Parameters
    from pkdlib.data.official import hmdb51, preparation, ucf101

    spec = {"ucf101": ucf101, "hmdb51": hmdb51}[chosen.dataset].SPEC
    settings = {"lists": chosen.lists, "workers": max(1, chosen.workers), "log": _log}
    if chosen.clips and chosen.archive:
        raise ParameterError("--clips and --archive exclude each other: unpack the archive, and name it with --clips")
    if chosen.clips:
        classes = [name.strip() for name in chosen.classes.split(",") if name.strip()]
        preparation.prepare_part(spec, chosen.root, chosen.clips, classes=classes, **settings)
    elif chosen.classes:
        raise ParameterError("--classes goes with --clips, the folder to take them from")
    else:
        preparation.prepare(spec, chosen.root, archives=chosen.archive, **settings)
    parameters = Parameters.for_profile("quick", dataset=chosen.dataset, root=chosen.root)
    size = workspace.bank_size(parameters) / 1e9
    _log(f"the first run decodes the clips' frames, once, to the cache: about {size:.2g} GB at the profile quick")
    _log(f"ready: pkd reproduce --dataset {chosen.dataset} --root {chosen.root}")


def _clean(chosen: argparse.Namespace) -> None:
    root = _resources.working_folder()
    entries = [path for path in _caches(chosen.runs) if _is_chosen(path, chosen.what)]
    if root != Path.cwd():
        print(f"in {root}")
    if not entries:
        print("nothing to remove here")
        return
    total = 0
    for path in entries:
        size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
        total += size
        _log(f"{size / 2**20:10.1f} MiB  {path.relative_to(root) if path.is_relative_to(root) else path}")
    print(f"{total / 2**20:10.1f} MiB  in all")
    if not chosen.yes:
        print("nothing was removed; `pkd clean --yes` removes these (results/ is never touched)")
        return
    for path in entries:
        shutil.rmtree(path)
    print("removed")


def _book(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import measure
    from pkdlib.companion.book import build, numbers
    from pkdlib.companion.book.page_tables import collected

    root = Path(chosen.root).resolve() if chosen.root else build.checkout()
    with measure.measured() as cost:
        page = build.build(substitutions={**numbers.collect(), **collected.collect()}, root=root)
    measure.remember(root / build.EXECUTED / store.TIMINGS, "build", "book", cost())
    _say("book", str(page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pkd",
        description="Action recognition in compressed video: decode, reproduce the study, predict.",
        epilog="`pkd COMMAND --help` says what each does, with an example and how long it takes.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"pkd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    command = _add(commands, "inspect", _inspect, "what a compressed video, or a folder of them, holds", _INSPECT_HELP)
    command.add_argument("clip", metavar="CLIP", help="a video file: MPEG-4 Part 2, H.264, MPEG-2, ...; or a folder")
    command.add_argument("--picture", metavar="PNG", help="where to write the picture (CLIP's name.modalities.png)")
    command.add_argument("--pattern", metavar="RE", default="", help="folder: as for `pkd reproduce`")
    command.add_argument(
        "--folds", type=int, metavar="N", default=folds.DEFAULT_FOLDS, help="folder: parts to cut it into (%(default)s)"
    )

    command = _add(commands, "reproduce", _reproduce, "run the study's notebooks", _REPRODUCE_HELP)
    _add_parameters(command)
    command.add_argument(
        "--only",
        metavar="NN",
        nargs="+",
        default=[],
        help="only these notebooks, by number or name: --only 02 05",
    )
    command.add_argument("--target", metavar="DIR", help="write the executed notebooks there (the run folder)")

    command = _add(commands, "predict", _predict, "recognise the action in a clip", _PREDICT_HELP)
    command.add_argument("clip", metavar="CLIP", help="a video file that `pkd inspect` can read")
    command.add_argument(
        "--model",
        metavar="NAME",
        help=f"{' or '.join(_resources.MODELS)}, which come with pkdlib (the first), or a folder of `pkd export`",
    )

    command = _add(commands, "train", _train, "train one network, on several GPUs if need be", _TRAIN_HELP)
    command.add_argument(
        "network",
        help="what it reads: iframe, motion or residual; of teamnet: joint; or exits, the internal classifiers of all",
    )
    _add_parameters(command)

    command = _add(commands, "export", _export, "write out a run's weights and logits", _EXPORT_HELP)
    _add_parameters(command)
    command.add_argument("--target", metavar="DIR", help="write weights and logits there (export)")
    command.add_argument("--results", metavar="DIR", help="write the tables there, as results/ holds them to commit")
    command.add_argument("--tables", nargs="+", default=(), metavar="NAME", help="of the tables, write these alone")
    command.add_argument("--model", metavar="DIR", help="write the first run's model there, in half precision")

    command = _add(commands, "data", _data, "prepare UCF-101 or HMDB-51", _DATA_HELP)
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

    command = _add(commands, "clean", _clean, "what the caches hold; remove it", _CLEAN_HELP)
    command.add_argument("what", metavar="FOLDER", nargs="*", help="only these, as the list names them")
    command.add_argument("--runs", metavar="DIR", default="runs", help="the run folder (%(default)s)")
    command.add_argument("--yes", action="store_true", help="remove what is listed")

    command = _add(commands, "book", _book, "build the book from the executed notebooks", _BOOK_HELP)
    command.add_argument("--root", metavar="DIR", help="build another folder, laid out like a checkout (this checkout)")
    return parser


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
Run the eight notebooks in order through papermill, training whatever is missing. What is finished is kept:
the same command again redoes only what changed, and goes on where Ctrl-C or a power cut stopped it, to the
same tables. Two at the same time, of two seeds say, share the run folder, but need a --target each.

examples:
  pkd reproduce --profile quick
  pkd reproduce --profile quick --dataset ut_interaction --root ../shared/clips/ut_interaction
  pkd reproduce --profile quick --dataset folder --root my_clips --pattern '_(s[0-9]+)_' --split 0
  pkd reproduce --profile quick --backbone teamnet
  pkd reproduce --profile smoke --set exit_epochs=2 --set threads=1 --only 02 04

profiles: smoke (minutes; its numbers mean nothing), quick (up to 15 minutes on 2 cores), full (up to 20
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
  pkd export --profile quick --results results --model results/model
  pkd export --profile full --dataset ucf101 --root ucf_part --set iframe_network=lite --split 0 --seed 0 \\
    --model results/model-ucf101-25
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
takes:   about a minute; needs pip install 'pkdlib[train,book]' and a checkout of the repository
"""
_CACHED = (
    "cache/marionette-*",
    "cache/ut_interaction-*",
    "cache/folder-*",
    "cache/frames-*",
    "cache/indices-*",
    "_build/executed",
    "_build/book",
    "_build/html",
    "_build/.doctrees",
    "_build/test",
)
_NEEDS = {"train": "pkdlib[train]", "predict": "pkdlib[train]", "export": "pkdlib[train]", "data": "pkdlib[train]"}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=110)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_complain(f"{message} (see `{self.prog} --help`)", _USAGE_ERROR))


def _add(commands: Any, name: str, run: Any, summary: str, description: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=description, formatter_class=_Formatter)
    command.set_defaults(run=run, needs=_NEEDS.get(name, "pkdlib[train,book]"))
    return command


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="quick", help="smoke, quick, full, large or paper (%(default)s)")
    command.add_argument(
        "--dataset", help="marionette (generated; the default), ut_interaction, ucf101, hmdb51 or folder"
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


def _parameters(chosen: argparse.Namespace) -> "Parameters":
    from pkdlib.companion.parameters import Parameters

    named = ("dataset", "root", "pattern", "backbone", "split", "seed", "runs")
    overrides = {name: getattr(chosen, name) for name in named if getattr(chosen, name) is not None}
    overrides |= {"keep": True} if chosen.keep else {}
    texts = {name for name, field in Parameters.model_fields.items() if field.annotation not in (bool, int, float)}
    for word in chosen.set:
        name, equals, text = word.partition("=")
        if not equals:
            raise ParameterError(f"--set {word}: write it as --set NAME=VALUE")
        overrides[name] = text if name in texts else _number(text)
    parameters = Parameters.for_profile(overrides.pop("profile", chosen.profile), **overrides)
    if chosen.limit_epochs is None:
        return parameters
    asked = {name: value for name, value in parameters.flat().items() if name.endswith("_epochs")}
    return parameters.replace(**{name: min(value, chosen.limit_epochs) for name, value in asked.items()})


def _number(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text  # Parameters says what is wrong with it


def _caches(run_folder: str) -> Iterator[Path]:
    # What `pkd clean` may remove. Whatever --runs names: only a folder that pkdlib filled is ever listed.
    yield from sorted(path for path in _resources.place(run_folder).glob("*/*") if path.is_dir() and _is_a_run(path))
    for pattern in _CACHED:
        yield from sorted(path for path in _resources.working_folder().glob(pattern) if path.is_dir())


def _is_a_run(path: Path) -> bool:
    profiles = [profile.stem for profile in _resources.folder("profiles").glob("*.yaml")]
    variant = path.name if path.parent.name == "grid" else path.parent.name  # workflow/Snakefile's notebooks
    return variant.partition("-")[0] in profiles


def _is_chosen(path: Path, names: Sequence[str]) -> bool:
    return not names or any(path.is_relative_to(_resources.place(name)) for name in names)


def _say(name: str, value: str) -> None:
    print(_files.printable(f"{name:<12}{value}"), flush=True)


def _log(line: str) -> None:
    print(_files.printable(line), flush=True)


def _complain(message: str, status: int = 1) -> int:
    print(f"pkd: {_files.printable(' '.join(message.split()))}", file=sys.stderr)
    return status
