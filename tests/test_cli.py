"""The command line: help worth reading, and every failure one clear line and a non-zero exit, without a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from pkdlib import _arguments, cli
from pkdlib.companion.book import build
from pkdlib.video import transcode

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("inspect", "reproduce", "predict", "train", "export", "data", "clean", "book")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two GOPs, of 12 and 8 frames, of a moving square."""
    path = tmp_path_factory.mktemp("clip") / "square.mp4"
    frames = []
    for step in range(20):
        frame = np.full((64, 96, 3), 90, np.uint8)
        frame[20:40, 10 + step : 30 + step] = (200, 50, 50)
        frames.append(frame)
    transcode.encode(frames, path)
    return path


@pytest.fixture
def bad(tmp_path, clip):
    """Files that cannot be read, by what is wrong with them."""
    contents = clip.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50, encoding="utf-8")
    (tmp_path / "truncated.mp4").write_bytes(contents[: len(contents) // 40])
    with av.open(str(tmp_path / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "no_vectors.mkv"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return tmp_path


def fails(capsys, *arguments, status: int = 1) -> str:
    """Run `pkd` in this process, expecting it to fail; return its one line."""
    assert cli.main(list(map(str, arguments))) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("pkd: ")
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_says_what_it_takes(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"pkd {command}" in text.partition("options:")[0].partition("example")[2]
    assert "takes:" in text or "profiles:" in text


def test_usage_errors_are_one_line(capsys):
    for arguments in ([], ["dance"], ["inspect"], ["reproduce", "--split", "x"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        lines = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and len(lines) == 1 and lines[0].startswith("pkd: ")


def test_inspect_says_what_the_clip_holds_and_draws_it(clip, tmp_path, capsys):
    picture = tmp_path / "out.png"
    assert cli.main(["inspect", str(clip), "--picture", str(picture)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["codec"] == "mpeg4"
    assert said["size"] == "96 x 64"
    assert said["frames"] == "20 (2 I, 18 P)"
    assert said["GOPs"] == "2, of 8 to 12 frames"
    with av.open(str(picture)) as container:
        (drawn,) = container.decode(video=0)
    assert drawn.width >= 3 * 96 and drawn.height >= 64
    assert np.ptp(drawn.to_ndarray(format="rgb24")) > 100


def test_inspect_draws_beside_the_caller_by_default(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", str(clip)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["square.modalities.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.mp4", "no such file"),
        ("empty.mp4", "empty"),
        ("text.mp4", ""),
        ("truncated.mp4", ""),
        ("audio.mp4", "no video"),
        ("no_vectors.mkv", "transcode"),
    ],
)
def test_unreadable_clips_are_named_with_the_reason(bad, name, reason, capsys, monkeypatch):
    monkeypatch.chdir(bad)
    line = fails(capsys, "inspect", bad / name)
    assert name in line and reason in line.lower()
    assert not list(bad.glob("*.png"))


@pytest.mark.parametrize("name", ["h265_video.mp4", "av1_video.mkv"])
def test_real_files_of_codecs_without_vectors(shared_clips, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "transcode" in fails(capsys, "inspect", shared_clips / "formats" / name)


def test_every_original_clip_can_be_inspected(shared_clips, tmp_path):
    clips = [*(shared_clips / "paper_datasets").glob("*.avi"), *(shared_clips / "golden").glob("*.mp4")]
    assert len(clips) == 8
    for clip in clips:
        picture = tmp_path / f"{clip.stem}.png"
        assert cli.main(["inspect", str(clip), "--picture", str(picture)]) == 0
        assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "exit_epoch=3"], "unknown parameter 'exit_epoch'; did you mean 'exit_epochs'?"),
        (["--set", "threads=many"], "parameter threads = 'many': must be a valid integer"),
        (["--set", "threads"], "--set NAME=VALUE"),
        (["--profile", "huge"], "the profiles are: full,"),
        (["--split", "-7"], "parameter split = -7"),
        (["--limit-epochs", "0"], "_epochs = 0: must be greater than 0"),
        (["--backbone", "resnet"], "backbone = 'resnet': must be 'coviar' or 'teamnet'"),
    ],
)
def test_bad_parameters(words, message, capsys):
    assert message in fails(capsys, "reproduce", *words, status=2)


def test_values_keep_the_type_of_their_parameter(monkeypatch):
    words = ["reproduce", "--set", "backbone_lr=1e-3", "--set", "clip=007", "--set", "threads=1", "--split", "2"]
    parameters = cli._parameters(_arguments.parser().parse_args(words))
    assert (parameters.backbone_lr, parameters.clip, parameters.threads, parameters.split) == (1e-3, "007", 1, 2)


def test_an_output_folder_that_cannot_be_written(clip, tmp_path, capsys):
    # Not by permissions, which root does not feel: a file lies where the folder should be.
    blocked = tmp_path / "file"
    blocked.touch()
    assert str(blocked) in fails(capsys, "inspect", clip, "--picture", blocked / "out.png")
    assert str(blocked) in fails(capsys, "reproduce", "--profile", "smoke", "--runs", blocked)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said(clip, tmp_path, capsys, monkeypatch):
    def full(path, write):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"one byte too many")

    monkeypatch.setattr(cli._files, "write_atomically", full)
    assert "No space left on device" in fails(capsys, "inspect", clip, "--picture", tmp_path / "out.png")


@pytest.mark.parametrize(("command", "extra"), [("predict", "[train]"), ("reproduce", "[train,book]")])
def test_a_missing_extra_is_named(clip, command, extra, tmp_path):
    # As after `pip install pkdlib`: neither torch nor papermill can be imported.
    code = (
        "import sys\n"
        "for name in ('torch', 'pydantic', 'papermill', 'jupytext', 'nbformat'): sys.modules[name] = None\n"
        "from pkdlib.cli import main; sys.exit(main())"
    )
    words = [command, str(clip)] if command == "predict" else [command, "--profile", "smoke"]
    done = run(["-c", code, *words], tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"pip install 'pkdlib{extra}'" in done.stderr


def test_inspect_needs_no_extra(clip, tmp_path):
    code = (
        "import sys; from pkdlib.cli import main; status = main()\n"
        "print({'torch', 'pydantic', 'tqdm', 'scipy', 'pandas', 'yaml', 'papermill', 'altair'} & sys.modules.keys())\n"
        "sys.exit(status)"
    )
    (tmp_path / "data" / "wave").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "data" / "wave")
    for what in (clip, tmp_path / "data"):
        done = run(["-c", code, "inspect", str(what)], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "set()"


def test_clean_lists_and_removes_caches_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ours = ("runs/smoke/marionette", "runs/grid/smoke-coviar", "cache/marionette-12ab", "cache/indices-12ab")
    ours += ("_build/html",)
    others = ("results/quick/marionette", "runs/notes/mine", "runs/grid/mine", "cache/photographs", "_build/doctrees")
    for folder in (*ours, *others):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "file.json").write_bytes(b"x" * 2**20)

    assert cli.main(["clean"]) == 0
    listed = capsys.readouterr().out
    assert all(f"1.0 MiB  {folder}" in listed for folder in ours)
    assert not any(folder in listed for folder in others)
    assert all((Path(folder) / "file.json").exists() for folder in ours)

    assert cli.main(["clean", "cache", "--yes"]) == 0
    assert [Path(folder).exists() for folder in ours] == [True, True, False, False, True]
    assert cli.main(["clean", "--yes"]) == 0
    assert not any(Path(folder).exists() for folder in ours)
    assert all((Path(folder) / "file.json").exists() for folder in others)
    capsys.readouterr()
    assert cli.main(["clean"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_clean_follows_the_rule_of_where_runs_lie(tmp_path, monkeypatch, capsys):
    for name in ("notebooks", "pkdlib", "runs/smoke/marionette", "cache/marionette-12ab"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert cli.main(["clean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert str(tmp_path) in lines[0]
    assert [line.split()[-1] for line in lines[1:3]] == ["runs/smoke/marionette", "cache/marionette-12ab"]
    assert cli.main(["clean", "runs", "--yes"]) == 0
    assert not (tmp_path / "runs/smoke/marionette").exists() and (tmp_path / "cache/marionette-12ab").exists()


def test_the_book_is_that_of_the_checkout_around_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "from a checkout of the repository" in fails(capsys, "book")
    monkeypatch.chdir(ROOT / "tests")
    assert build.checkout() == ROOT


@pytest.mark.parametrize(
    ("classes", "words", "reason"),
    [
        (["wave"], [], "has clips of one class only (wave)"),
        (["wave", "jump"], ["--pattern", "_(t[0-9])_"], "has no match of the pattern '_(t[0-9])_'"),
        (["wave", "jump"], ["--set", "folds=2"], "folds = 2 must be at least 3: "),
        (["wave", "jump"], ["--set", "folds=7"], "are too few for 7 folds; folds = 6 would do"),
    ],
)
def test_a_data_folder_that_cannot_be_split(clip, classes, words, reason, tmp_path, monkeypatch, capsys):
    for name in classes:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            shutil.copy(clip, tmp_path / "data" / name / f"{name}_s{number}_a.mp4")
    monkeypatch.chdir(tmp_path)
    own = ["--dataset", "folder", "--root", "data", "--pattern", "_(s[0-9])_", "--only", "02"]
    line = fails(capsys, "reproduce", "--profile", "smoke", *own, *words)
    assert reason in line and "notebook" not in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_folder_is_transcoded_before_the_notebooks_and_what_fails_is_listed(clip, tmp_path, monkeypatch, capsys):
    for name in ("wave", "jump"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            shutil.copy(clip, tmp_path / "data" / name / f"s{number}.mp4")
    (tmp_path / "data" / "wave" / "s3.mp4").write_bytes(b"no video")
    (tmp_path / "data" / "wave" / "s3.txt").write_text("what s3 shows\n" * 50, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    own = ["--dataset", "folder", "--root", "data", "--pattern", "(s[0-9])"]
    assert cli.main(["reproduce", "--profile", "smoke", *own]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(
        "pkd: 1 of 12 clips cannot be read, mend or remove them (all others are made): data/wave"
    )
    left_out, failed = said.out.splitlines()
    assert left_out.startswith("left out: wave/s3.txt (") and failed.startswith("failed: data/wave/s3.mp4: ")
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == 11


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False, encoding="utf-8"
    )
