import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pkdlib.runs import RunError, Store, digest, read_json, write_atomically, write_json


def test_a_finished_step_is_not_made_again(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "value.txt").write_text("1")

    store = Store(tmp_path)
    first = store.step("step", make, {"a": 1})
    second = store.step("step", make, {"a": 1})
    assert first == second == tmp_path / "step"
    assert len(made) == 1
    assert (first / "value.txt").read_text() == "1"


def test_run_json_says_where_a_result_comes_from(tmp_path):
    record = read_json(Store(tmp_path).step("step", lambda folder: None, {"a": (1, 2)}) / "run.json")
    assert record["settings"] == {"a": [1, 2]}
    assert {"commit", "modified", "versions", "python", "platform", "device"} <= record.keys()
    assert record["versions"]["numpy"].count(".") == 2


def test_timings_stand_apart_from_the_record(tmp_path):
    step = Store(tmp_path).step("step", lambda folder: time.sleep(0.02), {})
    assert read_json(step / "timings.json")["seconds"] >= 0.02
    assert "seconds" not in (step / "run.json").read_text()


def test_a_step_is_not_charged_for_the_steps_that_it_needs(tmp_path):
    store = Store(tmp_path)

    def needs_another(folder):
        store.step("inner", lambda folder: time.sleep(0.2), {})
        time.sleep(0.05)

    outer = store.step("outer", needs_another, {})
    assert read_json(tmp_path / "inner" / "timings.json")["seconds"] >= 0.2
    assert 0.05 <= read_json(outer / "timings.json")["seconds"] < 0.2


def test_other_settings_are_refused_and_named(tmp_path):
    store = Store(tmp_path)
    store.step("step", lambda folder: None, {"epochs": 3})
    with pytest.raises(RunError, match=r"epochs = 3 \(now 4\).*--runs"):
        store.step("step", lambda folder: None, {"epochs": 4})


def test_a_failed_step_leaves_its_part_to_resume_from(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "half.txt").write_text("half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        store.step("step", fails, {"a": 1})
    assert not (tmp_path / "step").exists()
    seen = []
    store.step("step", lambda folder: seen.append((folder / "half.txt").read_text()), {"a": 1})
    assert seen == ["half"]


def test_a_part_begun_with_other_settings_is_not_resumed(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "half.txt").write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        store.step("step", fails, {"a": 1})
    found = []
    store.step("step", lambda folder: found.extend(folder.rglob("*.txt")), {"a": 2})
    assert found == []


def test_a_killed_process_leaves_no_finished_step(tmp_path):
    code = (
        "import sys, time; from pkdlib.runs import Store\n"
        "def make(folder):\n"
        "    (folder / 'begun').write_text('x'); print('begun', flush=True); time.sleep(60)\n"
        "Store(sys.argv[1]).step('step', make, {})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "step").exists()
    # The kernel has released the dead process's lock, so this returns.
    assert Store(tmp_path).step("step", lambda folder: None, {}).is_dir()


def test_an_unwritable_place_gives_one_clear_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RunError, match="cannot write the run folder"):
        Store(blocked / "runs").step("step", lambda folder: None, {})


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})

    def fails(temporary):
        temporary.write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_atomically(path, fails)
    assert json.loads(path.read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


def test_the_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
