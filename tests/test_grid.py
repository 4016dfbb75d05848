"""The grid: what Snakemake would run by each profile, and that a killed grid goes on with what is missing alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("machine", "slurm", "kubernetes")
STEPS = ("backbones", "flatness", "internal_classifiers", "wise", "early_exit", "protocol")

pytestmark = pytest.mark.skipif(
    shutil.which("snakemake") is None, reason="no snakemake (pip install '.[grid]' and its executors)"
)


def command(profile, *words):
    place = ROOT / "workflow"
    return ["snakemake", "-s", place / "Snakefile", "--workflow-profile", place / "profiles" / profile, *words]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_dry_run_lists_the_paper_s_whole_grid(tmp_path, profile):
    config = ["profile=paper", "datasets=ucf101,hmdb51", "root_ucf101=/data/u", "root_hmdb51=/data/h"]
    done = subprocess.run(
        command(profile, "--config", *config, "--dry-run", "-p"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout + done.stderr
    if "invalid choice" in text or "not a valid" in text:
        pytest.skip(f"the plugins of {profile} are not installed")
    assert done.returncode == 0, text
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
    assert counts == {**dict.fromkeys(STEPS, "30"), "pages": "2", "all": "1", "total": "183"}
    line = (
        "pkd reproduce --profile paper --backbone coviar --dataset hmdb51 --root '/data/h' --split 2 --seed 4 --only 06"
    )
    assert line in text


@pytest.mark.slow
def test_a_killed_grid_goes_on_with_what_is_missing(tmp_path):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    config = ["--config", "profile=smoke", "splits=1", "seeds=2", "set=threads=1"]
    target = "runs/grid/smoke-coviar/marionette/split0/seed{}/backbones.done"
    words = command("machine", *config, "--cores", "1", target.format(0), target.format(1))
    process = subprocess.Popen(words, cwd=tmp_path, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("runs/smoke/marionette/split0/seed*/exits/run.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    steps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/smoke/marionette/split0/*/*/run.json")}
    subprocess.run(words, cwd=tmp_path, env=env, check=True, stderr=subprocess.DEVNULL)
    assert all((tmp_path / target.format(seed)).is_file() for seed in (0, 1))
    assert all(path.stat().st_mtime_ns == before for path, before in steps.items())
    assert len(list(tmp_path.glob("runs/smoke/marionette/split0/*/logits/run.json"))) == 2
