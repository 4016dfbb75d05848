"""Downloads from a server of our own, which can break off, refuse, or not know how to go on."""

import functools
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pkdlib.data.datasets import DatasetError
from pkdlib.data.official import downloads

CONTENT = bytes(range(256)) * 9000  # more than two blocks
download = functools.partial(downloads.download, pause=0.0)


class Server(ThreadingHTTPServer):
    """Serves CONTENT at any path.

    Attributes:
        cuts: Bytes after which the connection is cut, one for each request to come; 0 refuses with status 503.
        ranges: Whether it can begin in the middle.
        asked: The Range of each request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.ranges, self.asked = [], True, []
        self.url = f"http://127.0.0.1:{self.server_port}/videos.rar"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        cut = self.server.cuts.pop(0) if self.server.cuts else len(CONTENT)
        if cut == 0 or self.path == "/absent":
            self.send_error(503 if cut == 0 else 404)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "archives" / "videos.rar"


def test_a_whole_file(server, target):
    download(server.url, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["videos.rar"]
    assert server.asked == [None]


def test_it_goes_on_where_the_connection_broke(server, target):
    server.cuts = [1_000_000, 0, 500_000]
    download(server.url, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1500000-"]


def test_the_next_run_goes_on_where_the_last_gave_up(server, target):
    server.cuts = [1_000_000] + [0] * 5
    with pytest.raises(DatasetError, match=r"cannot download http.*503.* \(after 1,000,000 bytes, which are kept\)"):
        download(server.url, target)
    assert not target.exists()
    download(server.url, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000000-"


def test_a_server_that_cannot_go_on_sends_all_again(server, target):
    server.cuts, server.ranges = [1_000_000], False
    download(server.url, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_renamed(server, target):
    target.parent.mkdir()
    (target.parent / ".videos.rar.part").write_bytes(CONTENT)
    download(server.url, target)
    assert target.read_bytes() == CONTENT


def test_a_part_of_a_larger_file_is_thrown_away(server, target):
    target.parent.mkdir()
    (target.parent / ".videos.rar.part").write_bytes(CONTENT + b"more")
    download(server.url, target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_asked_for_once(server, target):
    with pytest.raises(DatasetError, match=r"/absent: .*404.*nothing came"):
        download(server.url.replace("videos.rar", "absent"), target)
    assert len(server.asked) == 1


def test_no_server(target):
    with pytest.raises(DatasetError, match=r"cannot download http://127.0.0.1:9/x: .*refused.*nothing came"):
        download("http://127.0.0.1:9/x", target)


def test_a_target_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot write"):
        download(server.url, tmp_path / "file" / "videos.rar")
