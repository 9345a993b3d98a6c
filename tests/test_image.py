"""The image's recipe: everything the lab needs, from what the builder brings, run by nobody in particular."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from datapaths.bpf import objects
from lab.compile import ROOT
from lab.packages import HEADERS, PACKAGES

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = re.findall(r"^([A-Z]+) ((?:\\\n|.)*)", DOCKERFILE, re.MULTILINE)


LEFT_OUT = {"chromium", "chromium-driver"}  # look at pages; nothing on a cluster has any


def steps(name: str) -> list[str]:
    return [text for word, text in STEPS if word == name]


def test_every_package_that_the_lab_needs_is_in_it() -> None:
    words = shlex.split(next(text for text in steps("RUN") if "apt-get install" in text).replace("\\\n", " "))
    wanted = {package.name for package in PACKAGES} - {HEADERS} - LEFT_OUT | {"linux-headers-amd64"}
    assert wanted <= {word.rstrip(";") for word in words}


def test_nothing_is_fetched_but_by_the_package_managers() -> None:
    assert not steps("ADD")
    assert not re.search(r"\b(curl|wget|git clone)\b", DOCKERFILE)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def test_base_and_mirrors_are_the_builders_choice() -> None:
    assert {text.partition("=")[0] for text in steps("ARG")} >= {"BASE", "APT_MIRROR", "PIP_INDEX_URL", "VERSION"}
    assert steps("FROM") == ["${BASE}"]


def test_a_mirror_takes_the_place_of_both_archives(tmp_path: Path) -> None:
    public = "http://archive.example/debian"
    sources = tmp_path / "debian.sources"  # as Debian's own images have it: the address ends its line
    sources.write_text(f"Types: deb\nURIs: {public}\nSuites: bookworm\n\nTypes: deb\nURIs: {public}-security\n")
    (step,) = re.findall(r"sed -i .*\.sources", DOCKERFILE)
    words = step.replace("/etc/apt/sources.list.d", str(tmp_path))
    subprocess.run(["sh", "-c", words], check=True, env={**os.environ, "APT_MIRROR": "http://mirror/debian"})
    found = re.findall("URIs: (.*)", sources.read_text())
    assert found == ["http://mirror/debian", "http://mirror/debian-security"]


def test_its_labels_say_what_it_is() -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", steps("LABEL")[0]))
    assert labels >= {"version", "revision", "licenses", "source", "title"}


def test_it_runs_as_an_unprivileged_user_by_number() -> None:
    (user,) = steps("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_what_is_made_or_stored_here_stays_out_of_it() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    assert {".git", ".venv", ".build", "results"} <= ignored


def test_every_program_of_the_kernel_is_compiled_when_it_is_built() -> None:
    sources = {path.name.removesuffix(".c") for path in (ROOT / "datapaths" / "bpf").glob("*.bpf.c")}
    assert {re.sub(r"-\w+\.o$", "", path.name) for path in objects.compiled()} == sources
    assert "datapaths.bpf.objects" in DOCKERFILE


def test_the_shipped_cluster_configuration_is_in_the_tree() -> None:
    assert Path(ROOT / "lab/cluster/kind.yaml").is_file()
