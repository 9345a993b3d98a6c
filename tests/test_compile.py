"""C becomes an object once, whoever asks and however many at a time."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import compile as compiling
from lab.record import CannotRun, Failed

needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_LAB_BUILD", str(tmp_path / "build"))
    file = tmp_path / "one.c"
    file.write_text("int one(void);\nint one(void) { return 1; }\n")
    return file


@needs_clang
def test_many_may_want_the_same_object_at_once(source: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: compiling.shared(source), range(8)))
    assert len(made) == 1
    assert [p.suffix for p in (source.parent / "build").iterdir()] == [".so"]


@needs_clang
def test_a_changed_header_makes_another_object(source: Path) -> None:
    before = compiling.shared(source)
    (source.parent / "one.h").write_text("/* new */\n")
    assert compiling.shared(source) != before


@needs_clang
def test_what_does_not_compile_is_shown_with_the_compilers_words(source: Path) -> None:
    source.write_text("int one(void) { return }\n")
    with pytest.raises(Failed, match="expected expression"):
        compiling.shared(source)


def test_without_clang_it_says_how_to_get_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotRun, match="apt-get install clang"):
        compiling.shared(source)
