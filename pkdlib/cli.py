"""The command line `pkd`: thin over the library; every failure is one clear line and a non-zero exit.

`pkd inspect` and `pkd clean` need the base install alone: whatever needs more is imported where it is used.
"""

import argparse
import collections
import contextlib
import io
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pkdlib import _arguments, _files, _notebook, _resources
from pkdlib._arguments import USAGE_ERROR, complain
from pkdlib.companion.profiles import ParameterError
from pkdlib.companion.runs import store
from pkdlib.data import survey
from pkdlib.video import container, pictures, reader

if TYPE_CHECKING:
    from pkdlib.companion.parameters import Parameters

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
        chosen = _arguments.parser().parse_args(arguments)
        _COMMANDS[chosen.command](chosen)
    except KeyboardInterrupt:
        return complain("interrupted; the same command goes on from here", _INTERRUPTED)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pkdlib":
            raise
        return complain(f"this command needs {error.name}, which is not installed: pip install '{chosen.needs}'")
    except ParameterError as error:
        return complain(str(error), USAGE_ERROR)
    except OSError as error:
        return complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except Exception as error:
        if not type(error).__module__.startswith("pkdlib."):
            raise  # a fault of ours; what the library itself raises is meant for the reader
        return complain(str(error))
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
    png = pictures.png_bytes(sheet)
    _files.write_atomically(picture, lambda temporary: temporary.write_bytes(png))
    _say("picture", f"{picture} (frames, accumulated motion as arrows and as colours, accumulated residual)")
    _notebook.show_picture(png)


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

    model = chosen.model or next(iter(_resources.models()))
    answer = predictor.predict(Path(chosen.clip), model)
    _say("class", answer.label)
    _say("confidence", f"{answer.confidence:.3f}")
    _say("exit", answer.exit)
    _say("GMAC spent", f"{answer.gmac:.3f}")
    _say("model", model)
    _say("knows only", f"{len(answer.labels)} actions: {', '.join(answer.labels)}")
    if answer.tested:
        asked, right = answer.tested
        _say("accuracy", f"right on {right} of {asked} clips that it did not learn from ({right / asked:.0%})")
    drawn = answer.trained_on.startswith("marionette")
    _say("domain", "drawn figures, as Marionette's" if drawn else f"videos of these actions, as {answer.trained_on}'s")
    _say("warning", "a clip out of its domain is answered, too, but there its answer means nothing")
    if _notebook.shell() is not None:
        with contextlib.suppress(reader.VideoError):  # of a codec without vectors; it was transcoded to be answered
            _notebook.show_picture(pictures.png_bytes(pictures.contact_sheet(chosen.clip)))


def _export(chosen: argparse.Namespace) -> None:
    from pkdlib.companion import export, reproduce, workspace
    from pkdlib.companion.experiments import recording

    parameters = _parameters(chosen)
    if chosen.results:
        _say("results", str(reproduce.publish(parameters, Path(chosen.results), chosen.tables)))
    if chosen.model:
        export.ship(parameters, Path(chosen.model), _log)
        _say("model", chosen.model)
    if chosen.steps:
        _say("steps", str(export.ship_runs(parameters, Path(chosen.steps))))
    if chosen.recording:
        recording.save(recording.record(workspace.selected_runs(parameters)[0]), Path(chosen.recording))
        _say("recording", chosen.recording)
    if chosen.target or not (chosen.results or chosen.model or chosen.steps or chosen.recording):
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


def _stage(root: Path) -> None:
    from pkdlib.companion.book import staging

    staging.stage(substitutions=staging.collect(), root=root)


def _book(chosen: argparse.Namespace) -> None:
    from concurrent.futures.process import BrokenProcessPool

    from pkdlib import _processes
    from pkdlib.companion.book import build
    from pkdlib.companion.runs import measure

    root = Path(chosen.root).resolve() if chosen.root else build.checkout()
    with measure.measured() as cost:
        try:
            with _processes.pool(1, "spawn") as apart:  # its memory is free again when Sphinx needs it
                apart.submit(_stage, root).result()
        except BrokenProcessPool as error:
            raise _processes.killed("staged the book") from error
        page = build.build(root)
    measure.remember(root / build.EXECUTED / store.TIMINGS, "build", "book", cost())
    made = {"book": page} | ({"PDF": build.print_pdf(root)} if chosen.pdf else {})
    for name, path in made.items():
        _say(name, str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


_CACHED = (
    "cache/marionette*-*",
    "cache/ut_interaction-*",
    "cache/folder-*",
    "cache/frames-*",
    "cache/indices-*",
    "_build/executed",
    "_build/book",
    "_build/html",
    "_build/singlehtml",
    "_build/.doctrees",
    "_build/test",
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


_COMMANDS = {
    "inspect": _inspect,
    "reproduce": _reproduce,
    "predict": _predict,
    "train": _train,
    "export": _export,
    "data": _data,
    "clean": _clean,
    "book": _book,
}
