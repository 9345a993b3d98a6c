"""A kind cluster to measure on: made by pytest-kind's `KindCluster`, or one that is there already and is left there.

Nothing is downloaded: the programs, the node image and the lab's image are the user's to bring. From then on it is a
Kubernetes cluster like any other, with the context `kind-<name>`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.record import CannotRun, Failed, Mistake

THREE_NODES = Path(__file__).with_name("kind.yaml")
NAME = "mesh-lab"


@dataclass(frozen=True)
class Settings:
    """What a kind cluster is made of. `archive` is the lab's image by `docker save`; None: the nodes have it."""

    kind: Path
    kubectl: Path | None = None
    name: str = NAME
    image: str | None = None  # of the nodes; None: the one that this kind was built with
    config: Path = THREE_NODES
    archive: Path | None = None
    keep: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str], name: str | None = None) -> Settings:
        """From MESH_LAB_KIND_BINARY, …_KIND_IMAGE, …_KIND_CONFIG, …_KIND_NAME, …_KIND_KEEP (1), MESH_LAB_KUBECTL and
        MESH_LAB_IMAGE_ARCHIVE; programs that are not named are looked for on PATH. `CannotRun` where there is no kind.
        """
        given = environment.get
        kind = shutil.which(given("MESH_LAB_KIND_BINARY", "kind"))
        if kind is None:
            raise CannotRun(
                f"there is no program {given('MESH_LAB_KIND_BINARY', 'kind')!r}; install kind (https://kind.sigs.k8s.io)"
                " or say where it is with MESH_LAB_KIND_BINARY"
            )
        kubectl = shutil.which(given("MESH_LAB_KUBECTL", "kubectl"))
        return cls(
            kind=Path(kind).absolute(),
            kubectl=Path(kubectl).absolute() if kubectl else None,
            name=name or given("MESH_LAB_KIND_NAME", NAME),
            image=given("MESH_LAB_KIND_IMAGE") or None,
            config=_file(given("MESH_LAB_KIND_CONFIG"), "MESH_LAB_KIND_CONFIG") or THREE_NODES,
            archive=_file(given("MESH_LAB_IMAGE_ARCHIVE"), "MESH_LAB_IMAGE_ARCHIVE"),
            keep=given("MESH_LAB_KIND_KEEP", "") not in ("", "0"),
        )


class Kind:
    """A running kind cluster with the lab's image on its nodes; `kubeconfig` and `context` lead to it.

    A context manager. One that it made is deleted when it is left, unless `keep`; one that was there is not.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.context = f"kind-{settings.name}"
        self.made = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def kubeconfig(self) -> Path:
        """Readable by its owner alone, gone when the cluster is left."""
        if self._folder is None:
            raise Mistake("this kind cluster is not open; use it as: with Kind(...) as kind")
        return Path(self._folder.name) / "kubeconfig"

    def __enter__(self) -> Kind:
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-lab-kind.")
        try:
            if self.settings.name in self._run("get", "clusters").split():
                self.kubeconfig.touch(0o600)
                self.kubeconfig.write_text(self._run("get", "kubeconfig", "--name", self.settings.name))
            else:
                self.made = True
                self._create()
            if self.settings.archive is not None:
                self._run("load", "image-archive", str(self.settings.archive), "--name", self.settings.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        folder, made = self._folder, self.made
        try:
            if folder is not None and made and not self.settings.keep:
                self._run("delete", "cluster", "--name", self.settings.name, "--kubeconfig", str(self.kubeconfig))
        finally:
            self._folder, self.made = None, False
            if folder is not None:
                folder.cleanup()

    def _create(self) -> None:
        """By pytest-kind, which would download programs that it is not given and keeps a folder where it works."""
        try:
            # only who makes a cluster needs it; it has no types
            from pytest_kind import KindCluster  # type: ignore[import-untyped]  # noqa: PLC0415
        except ImportError as error:
            raise CannotRun(f"pytest-kind is missing ({error}); install it with: pip install pytest-kind") from error
        before = Path.cwd()
        os.chdir(self.kubeconfig.parent)
        try:
            made = KindCluster(
                self.settings.name,
                self.kubeconfig,
                self.settings.image,
                self.settings.kind,
                self.settings.kubectl or self.settings.kind,
            )
            made.create(self.settings.config)
        except subprocess.CalledProcessError as error:
            raise Failed(
                f"kind could not create {self.settings.name}: exit code {error.returncode}, see above"
            ) from None
        finally:
            os.chdir(before)

    def _run(self, *words: str) -> str:
        done = subprocess.run([str(self.settings.kind), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Failed(
                f"kind {' '.join(words[:2])} of {self.settings.name} failed: {last}; is Docker or Podman running?"
            )
        return done.stdout


def _file(given: str | None, name: str) -> Path | None:
    if not given:
        return None
    if not Path(given).is_file():
        raise Mistake(f"{name} is {given!r}, which is no file; give a path, or leave it out")
    return Path(given).absolute()
