"""For all tests: they keep clear of a run of the lab that may be going on, and of each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clusters that tests open have their lock, cgroups and folders under a name of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESH_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        yield
