"""A notebook's kernel as a reader meets it: an interrupted cell ends in one line, and `pkd` shows its picture there."""

import base64
import re

import numpy as np
import pytest
from jupyter_client.manager import KernelManager

from pkdlib.video import pictures, transcode
from tests.conftest import REPOSITORY


class Session:
    """A kernel, and what its cells put on the page where somebody watches."""

    def __init__(self, folder):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env={"PYTHONPATH": str(REPOSITORY)})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, source, interrupt_at=None):
        """Run a cell; return what it shows, and how it ended."""
        asked, shown = self.client.execute(source, allow_stdin=True), []
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            content = message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] in ("stream", "error", "display_data", "execute_result"):
                shown.append(content)
            if interrupt_at and interrupt_at in content.get("text", ""):
                self.manager.interrupt_kernel()
                interrupt_at = None
            if content.get("execution_state") == "idle":
                return shown, self._reply(asked)["status"]

    def _reply(self, asked):
        while (message := self.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != asked:
            pass
        return message["content"]

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    own = Session(tmp_path_factory.mktemp("session"))
    yield own
    own.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "noise.mp4"
    transcode.encode(np.random.default_rng(0).integers(0, 255, (24, 64, 85, 3), np.uint8), path)
    return path


def test_a_cell_that_is_interrupted_ends_in_one_line_and_stops_those_behind_it(session):
    parameters = (
        "from pkdlib.companion.parameters import Parameters\np = Parameters.from_namespace({'profile': 'smoke'})"
    )
    session.run(parameters)
    long = "import time\n\ndef deep(n):\n    return deep(n - 1) if n else time.sleep(60)\n\nprint('begun')\ndeep(50)"
    shown, status = session.run(long, interrupt_at="begun")
    assert "".join(output["text"] for output in shown).splitlines() == [
        "begun",
        "interrupted; run the cell again, and it goes on from where it was last saved",
    ]
    assert status == "error"  # so that `Run all` goes no further
    assert session.run("1 + 1")[1] == "ok"


@pytest.mark.parametrize("words", ["inspect {clip} --picture sheet.png", "predict {clip}"])
def test_pkd_in_a_cell_is_one_line_and_shows_its_picture(session, clip, words):
    shown, status = session.run(f"%run -m pkdlib {words.format(clip=clip)}")
    assert status == "ok"
    (picture,) = [output["data"]["image/png"] for output in shown if "data" in output]
    assert base64.b64decode(picture) == pictures.png_bytes(pictures.contact_sheet(clip))
    text = "".join(output.get("text", "") for output in shown)
    assert re.search(r"^clip +/|^class +\w", text)


def test_pkd_says_in_a_cell_what_is_wrong(session):
    shown, _ = session.run("%run -m pkdlib inspect missing.mp4")
    assert "pkd: " in "".join(output.get("text", "") for output in shown)
