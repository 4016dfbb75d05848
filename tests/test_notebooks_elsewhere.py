"""Pages opened alone, of another backbone and of an official data set: one of each, and all with PKD_NIGHTLY."""

import pytest

from pkdlib.companion import reproduce
from pkdlib.data.official import preparation, ucf101
from tests.conftest import REPOSITORY
from tests.extent import NIGHTLY, nightly

pytestmark = pytest.mark.slow
NUMBERS = [source.stem[:2] for source in reproduce.notebooks()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def trained(cache, tmp_path):
    """Execute a page alone; return the folders of networks that it trained."""

    def run(number, **values):
        (source,) = reproduce.notebooks([number])
        values |= {"profile": "smoke", "runs": str(tmp_path / "runs"), "cache": cache}
        reproduce.run_notebook(source, tmp_path / "page.ipynb", values, REPOSITORY)
        return {str(record.parent.relative_to(tmp_path / "runs")) for record in tmp_path.rglob("backbone-*/run.json")}

    return run


@nightly
@pytest.mark.parametrize("number", NUMBERS[1:])
def test_a_page_takes_teamnet(trained, number):
    assert trained(number, backbone="teamnet") == {"smoke-teamnet/marionette/split0/seed0/backbone-joint"}


@pytest.fixture(scope="module")
def ucf101_part(ucf101_mini, tmp_path_factory):
    root = tmp_path_factory.mktemp("ucf101") / "part"
    clips, lists = ucf101_mini
    preparation.prepare_part(ucf101.SPEC, root, clips, lists=lists, log=lambda line: None)
    return root


def test_a_page_takes_teamnet_on_a_part_of_ucf101_too(trained, ucf101_part):
    found = trained("04", backbone="teamnet", dataset="ucf101", root=str(ucf101_part), split=0)
    assert found == {"smoke-teamnet/ucf101-4/split0/seed0/backbone-joint"}


@pytest.mark.parametrize("number", NUMBERS if NIGHTLY else ["04"])
def test_a_page_takes_a_part_of_ucf101(trained, ucf101_part, number):
    found = trained(number, dataset="ucf101", root=str(ucf101_part), split=0)
    networks = ("iframe", "motion", "residual") if number != "01" else ()
    assert found == {f"smoke/ucf101-4/split0/seed0/backbone-{name}" for name in networks}
