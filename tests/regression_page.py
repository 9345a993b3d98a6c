"""What docs/regression.md shows, cut out of it, so that tests run what people are told to write."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "regression.md").read_text()
NEW, OLD = "/opt/mesh/new/proxy", "/opt/mesh/old/proxy"  # where the page's two versions are


def blocks(language: str) -> list[str]:
    """Every fenced block of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def write_versions(folder: Path, new: str = NEW, old: str = OLD) -> None:
    """The page's datapaths `mesh`, `mesh_new` and `mesh_old`; their programs may be others."""
    mesh, version = blocks("python")[:2]
    (folder / "mesh.py").write_text(mesh)
    (folder / "mesh_new.py").write_text(version.replace(NEW, new))
    (folder / "mesh_old.py").write_text(version.replace("class New", "class Old").replace(NEW, old))
