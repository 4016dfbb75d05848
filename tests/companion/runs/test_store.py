import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pkdlib
from pkdlib._files import RESUME, read_json, write_atomically, write_json
from pkdlib.companion.runs import store
from pkdlib.companion.runs.store import RunError, Store, digest


def test_a_finished_step_is_not_made_again(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "value.txt").write_text("1", encoding="utf-8")

    store = Store(tmp_path)
    first = store.step("step", make, {"a": 1})
    second = store.step("step", make, {"a": 1})
    assert first == second == tmp_path / "step"
    assert len(made) == 1
    assert (first / "value.txt").read_text(encoding="utf-8") == "1"


def test_run_json_says_where_a_result_comes_from(tmp_path):
    record = read_json(Store(tmp_path).step("step", lambda folder: None, {"a": (1, 2)}) / "run.json")
    assert record["settings"] == {"a": [1, 2]}
    assert {"commit", "modified", "versions", "python", "platform", "device"} <= record.keys()
    assert record["versions"]["numpy"].count(".") == 2


def test_timings_stand_apart_from_the_record(tmp_path):
    step = Store(tmp_path).step("step", lambda folder: time.sleep(0.02), {})
    assert read_json(step / "timings.json")["seconds"] >= 0.02
    assert "seconds" not in (step / "run.json").read_text(encoding="utf-8")


def test_a_step_is_not_charged_for_the_steps_that_it_needs(tmp_path):
    store = Store(tmp_path)

    def needs_another(folder):
        store.step("inner", lambda folder: time.sleep(0.2), {})
        time.sleep(0.05)

    began = time.perf_counter()
    outer = store.step("outer", needs_another, {})
    whole = time.perf_counter() - began
    inner = read_json(tmp_path / "inner" / "timings.json")["seconds"]
    assert inner >= 0.2 and 0.05 <= read_json(outer / "timings.json")["seconds"] <= whole - inner


def test_other_settings_are_refused_and_named(tmp_path):
    store = Store(tmp_path)
    store.step("step", lambda folder: None, {"epochs": 3})
    with pytest.raises(RunError, match=r"epochs = 3 \(now 4\).*--runs"):
        store.step("step", lambda folder: None, {"epochs": 4})


def test_a_failed_step_leaves_its_part_to_resume_from(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "half.txt").write_text("half", encoding="utf-8")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        store.step("step", fails, {"a": 1})
    assert not (tmp_path / "step").exists()
    seen = []
    store.step("step", lambda folder: seen.append((folder / "half.txt").read_text(encoding="utf-8")), {"a": 1})
    assert seen == ["half"]


def test_a_part_begun_with_other_settings_is_not_resumed(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "half.txt").write_text("half", encoding="utf-8")
        raise ValueError

    with pytest.raises(ValueError):
        store.step("step", fails, {"a": 1})
    found = []
    store.step("step", lambda folder: found.extend(folder.rglob("*.txt")), {"a": 2})
    assert found == []


def test_a_killed_process_leaves_no_finished_step(tmp_path):
    code = (
        "import sys, time; from pkdlib.companion.runs.store import Store\n"
        "def make(folder):\n"
        "    (folder / 'begun').write_text('x'); print('begun', flush=True); time.sleep(60)\n"
        "Store(sys.argv[1]).step('step', make, {})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "step").exists()
    # The kernel has released the dead process's lock, so this returns.
    assert Store(tmp_path).step("step", lambda folder: None, {}).is_dir()


def make_value(value):
    return lambda folder: (folder / "value.txt").write_text(value, encoding="utf-8")


def test_a_step_of_other_code_is_made_again(tmp_path, capsys):
    store = Store(tmp_path)
    store.step("step", make_value("old"), {"a": 1}, {"code": "1", "torch": "2.5"})
    again = Store(tmp_path, keep=True)
    kept = again.step("step", make_value("new"), {"a": 1}, {"code": "2", "torch": "2.5"})
    assert (kept / "value.txt").read_text(encoding="utf-8") == "old"
    assert capsys.readouterr().out.startswith("kept, though other code made it") and read_json(kept / "run.json")
    again.step("step", make_value("new"), {"a": 1}, {"code": "2", "torch": "2.5"})
    assert capsys.readouterr().out == ""  # told once
    for made_by in ({"code": "2", "torch": "2.5"}, {"code": "2", "torch": "2.6"}):
        value = f"{made_by['code']} {made_by['torch']}"
        step = store.step("step", make_value(value), {"a": 1}, made_by)
        assert (step / "value.txt").read_text(encoding="utf-8") == value
        assert read_json(step / "run.json")["made_by"] == made_by
    assert sorted(path.name for path in tmp_path.iterdir()) == [".step.lock", "step"]


def test_a_step_of_other_code_stays_until_the_new_one_is_whole(tmp_path):
    store = Store(tmp_path)
    store.step("step", make_value("old"), {}, {"code": "1"})

    def fails(folder):
        assert (tmp_path / "step" / "value.txt").read_text(encoding="utf-8") == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.step("step", fails, {}, {"code": "2"})
    assert (tmp_path / "step" / "value.txt").read_text(encoding="utf-8") == "old"


UNGUARDED = """
import sys
from pkdlib import _processes
from pkdlib.companion.runs.store import Store

def work(folder):
    with _processes.pool(1, "spawn") as others:
        others.submit(abs, -1).result()

Store(sys.argv[1]).step("step", work, {})
"""


def test_a_program_that_its_own_processes_would_begin_again_is_told_so_and_does_not_hang(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        encoding="utf-8",
    )
    assert done.returncode and 'put its own work under `if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize("outdated", [False, True])
@pytest.mark.parametrize("call", range(4))
def test_a_whole_step_survives_a_kill_at_each_of_its_last_moves(tmp_path, monkeypatch, outdated, call):
    steps = Store(tmp_path)
    if outdated:
        steps.step("step", make_value("old"), {}, {"code": "1"})
    made = []

    def make(folder):
        made.append(folder)
        (folder / RESUME).mkdir(exist_ok=True)
        (folder / RESUME / "state.pt").write_text("state", encoding="utf-8")
        (folder / ".0123456789abcdef.tmp").write_text(
            "half", encoding="utf-8"
        )  # of a write that an earlier kill cut short
        (folder / "value.txt").write_text("new", encoding="utf-8")

    calls = []

    def dies_at(function):
        def call_or_die(*arguments, **options):
            if "state.pt" not in str(arguments[0]) and len(made):
                calls.append(arguments)
                if len(calls) == call + 1:
                    raise KeyboardInterrupt
            return function(*arguments, **options)

        return call_or_die

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", dies_at(os.replace))
        patch.setattr(store.shutil, "rmtree", dies_at(store.shutil.rmtree))
        with contextlib.suppress(KeyboardInterrupt):
            steps.step("step", make, {}, {"code": "2"})
    assert calls
    step = steps.step("step", make, {}, {"code": "2"})
    assert len(made) == (2 if call < 2 else 1)  # once its record stands, it is not made again
    assert sorted(path.name for path in step.iterdir()) == ["run.json", "timings.json", "value.txt"]
    steps.step("step", make, {}, {"code": "2"})
    assert {path.name for path in tmp_path.iterdir()} <= {".step.lock", "step", ".step.outdated"}


def test_what_an_interrupted_step_goes_on_from_is_there_until_it_is_whole(tmp_path):
    def make(folder):
        state = folder / RESUME / "state.pt"
        seen.append(state.is_file())
        state.write_text("state", encoding="utf-8")
        if len(seen) == 1:
            raise KeyboardInterrupt

    seen, store = [], Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.step("step", make, {})
    assert seen == [False]
    step = store.step("step", make, {})
    assert seen == [False, True] and not (step / RESUME).exists()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuses(handle, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(store.fcntl, "flock", refuses)
    with pytest.raises(RunError, match=r"cannot lock .*: its file system, \w+ at /.*, refuses .*--runs"):
        Store(tmp_path).step("step", make_value("1"), {})


def test_two_processes_of_one_id_write_under_two_names(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in two pods
    names = set()
    for _ in range(2):
        write_atomically(tmp_path / "file", lambda path: (names.add(path), path.write_text("x", encoding="utf-8")))
    assert len(names) == 2


def test_an_unwritable_place_gives_one_clear_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write the run folder"):
        Store(blocked / "runs").step("step", lambda folder: None, {})


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})

    def fails(temporary):
        temporary.write_text("half", encoding="utf-8")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_atomically(path, fails)
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


def test_the_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def told_by(place: Path) -> dict:
    """The provenance that a copy of the package in a folder tells."""
    code = "import json; from pkdlib.companion.runs import store; print(json.dumps(store.provenance()))"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return json.loads(done.stdout)


def git(folder: Path, *words: str) -> str:
    settings = ("user.name=A", "user.email=a@example.org", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *(word for setting in settings for word in ("-c", setting)), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Somebody's own repository, with a commit."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    return tmp_path


def copy_package(place: Path) -> Path:
    source = Path(pkdlib.__file__).parent
    shutil.copytree(source, place / "pkdlib", ignore=shutil.ignore_patterns("__pycache__"))
    return place / "pkdlib"


def test_a_wheel_names_its_version_and_sources_and_no_repository_around_it(repository):
    place = repository / ".venv" / "site-packages"
    package = copy_package(place)
    first = told_by(place)
    assert (first["commit"], first["modified"]) == (None, None)
    assert first["versions"]["pkdlib"] == pkdlib.__version__
    assert first["sources"] == store.source_digest()
    with (package / "wise.py").open("a", encoding="utf-8") as file:
        file.write("CHANGED = True\n")
    assert told_by(place)["sources"] != first["sources"]


def test_a_checkout_names_its_own_commit(repository):
    root = repository / "unpacked"
    copy_package(root)
    (root / "notebooks").mkdir()
    (root / "pyproject.toml").touch()
    assert told_by(root)["commit"] is None  # an unpacked archive inside another's repository
    git(root, "init", "--quiet")
    git(root, "add", "pkdlib", "pyproject.toml")
    git(root, "commit", "--quiet", "--message", "ours")
    told = told_by(root)
    assert told["commit"] == git(root, "rev-parse", "HEAD") != git(repository, "rev-parse", "HEAD")
    assert told["modified"] is False
    with (root / "pkdlib" / "wise.py").open("a", encoding="utf-8") as file:
        file.write("CHANGED = True\n")
    assert told_by(root)["modified"] is True
