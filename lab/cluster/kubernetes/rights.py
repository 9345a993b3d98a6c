"""What the driver must be allowed to do on a cluster: as a role to be given, and as questions asked before anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.cluster.kubernetes import names
from lab.cluster.kubernetes.client import ApiClient
from lab.record import CannotRun

Rule = tuple[str, tuple[str, ...], tuple[str, ...]]  # API group, resources, verbs

RULES: tuple[Rule, ...] = (
    ("", ("namespaces",), ("create", "delete", "get", "list", "patch")),
    ("", ("nodes",), ("list",)),
    ("", ("pods",), ("create", "delete", "get", "list")),
    ("", ("pods/exec",), ("create", "get")),  # by WebSocket: `get` on servers before 1.35
    ("", ("pods/log", "events"), ("get", "list")),
    ("", ("services", "configmaps"), ("create", "delete", "get", "list")),
    ("", ("serviceaccounts",), ("create", "get")),
    ("apps", ("daemonsets",), ("list",)),
)
NEEDED = (("create", "namespaces", ""), ("list", "nodes", ""), ("create", "pods", ""), ("create", "pods", "exec"))


def role(more: Iterable[Rule] = ()) -> dict[str, Any]:
    """The cluster role that an ordinary user of the cluster needs to run the lab. Applied by an administrator.

    `more` are rights that some datapath asks for.
    """
    rules = [{"apiGroups": [g], "resources": list(what), "verbs": list(verbs)} for g, what, verbs in (*RULES, *more)]
    meta = {"name": names.LAB, "labels": {names.MANAGED_BY: names.LAB}}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}


def check(client: ApiClient) -> None:
    """`CannotRun` with what is lacking, before anything is made."""
    lacking = [
        f"{verb} {resource}{'/' + sub if sub else ''}"
        for verb, resource, sub in NEEDED
        if not client.may(verb, resource, subresource=sub)
    ]
    if lacking:
        raise CannotRun(
            f"context {client.context!r} may not {', '.join(lacking)};"
            " `mesh-lab manifests --rights` prints the role that is needed"
        )
