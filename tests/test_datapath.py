"""A datapath of one's own lives in a folder of one's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import datapath
from lab.record import Mistake

OWN = '''"""A wire with a name."""

from lab.datapath import Datapath


class Wire(Datapath):
    """Nothing."""
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "my_wire.py").write_text(OWN)
    monkeypatch.setenv(datapath.FOLDERS, str(own))
    yield own
    sys.modules.pop("datapaths.my_wire", None)


@pytest.mark.usefixtures("folder")
def test_a_file_in_a_folder_of_ones_own_is_a_datapath() -> None:
    assert "my_wire" in datapath.names()
    assert datapath.find("my_wire").connections == 1


def test_without_the_variable_only_the_projects_are_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datapath.find("my_wire")
    monkeypatch.delenv(datapath.FOLDERS)
    assert "my_wire" not in datapath.names()
    with pytest.raises(Mistake, match="no datapath 'my_wire'"):
        datapath.find("my_wire")


def test_several_folders_are_searched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    monkeypatch.setenv(datapath.FOLDERS, f"{tmp_path / 'more'}{os.pathsep}{folder}")
    assert "my_wire" in datapath.names()


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    (folder / "none.py").write_text(OWN)
    with pytest.raises(Mistake, match=r"none\.py is there twice; rename yours"):
        datapath.names()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datapath.FOLDERS, str(tmp_path / "gone"))
    with pytest.raises(Mistake, match=r"gone, which is no folder; make it"):
        datapath.names()


def test_a_file_without_a_datapath_is_named_by_its_path(folder: Path) -> None:
    (folder / "my_wire.py").write_text('"""Nothing here."""\n')
    with pytest.raises(Mistake, match=r"mine/my_wire\.py defines 0 datapaths"):
        datapath.find("my_wire")
