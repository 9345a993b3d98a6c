# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Your own datapath
#
# A datapath is one file: a function from pods and nodes to what must run in them. Here you write one, put it beside
# `none`, and measure it for some seconds. It lives in a folder of your own; nothing is added to the project.
#
# Measuring needs root (`sudo ./mesh-lab …` or a notebook that root started), nginx, nftables and, for this example,
# HAProxy. Where something is missing, the notebook says so and reads a published run instead.

# %%
import os
import tempfile
from pathlib import Path

from lab import datapath, doctor, report, session
from lab import plan as planning
from lab.record import Load, Profile, Scenario
from lab.report.figures import connections, cost, ratios

folder = Path(tempfile.mkdtemp(prefix="my-datapaths-"))  # take ~/datapaths, to keep it
os.environ[datapath.FOLDERS] = str(folder)

# %% [markdown]
# **The file.** HAProxy in the server's pod passes bytes on and understands none of them. `shape` gets a pod and
# returns it as the datapath wants it: here with an init step that redirects incoming connections, and a process that
# is ready when its port is open. All other hooks keep their default, which is to do nothing. `connections = 2` is a
# promise: sockets are counted, and held against it.

# %%
(
    folder / "passthrough.py"
).write_text('''"""HAProxy in the server's pod: passes bytes on and understands none of them."""

from dataclasses import replace

from lab.cluster import Part, PodSpec, Port, Privilege, ProcessSpec
from lab.datapath import Datapath
from lab.record import Need

RULES = """table ip passthrough {
  chain inbound {
    type nat hook prerouting priority -100; policy accept;
    iif "lo" return
    meta l4proto tcp redirect to :15006
  }
}
"""
CONFIG = """global
  maxconn 4000
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen inbound
  bind 0.0.0.0:15006
  server application 127.0.0.1:8080
"""


class PassThrough(Datapath):
    """HAProxy in TCP mode in front of the application."""

    needs = frozenset({Need.ROOT, Need.NETWORK_NAMESPACES, Need.NFTABLES, Need.NAT_REDIRECT, Need.HAPROXY})
    connections = 2

    def shape(self, pod: PodSpec) -> PodSpec:
        if pod.app != "server":
            return pod
        redirect = ProcessSpec(
            "redirect", ("nft", "-f", "{dir}/rules.nft"), Part.DATAPATH, files={"rules.nft": RULES},
            user=0, privileges=frozenset({Privilege.NET_ADMIN}),
        )
        proxy = ProcessSpec(
            "haproxy", ("haproxy", "-db", "-f", "{dir}/haproxy.cfg"), Part.DATAPATH, files={"haproxy.cfg": CONFIG},
            user=1337, ready=Port(15006),
        )
        return replace(pod, init=(*pod.init, redirect), processes=(proxy, *pod.processes))
''')
datapath.names()

# %% [markdown]
# The lab knows it at once, by its file's name. The same on a command line: `sudo MESH_LAB_DATAPATHS=~/datapaths
# ./mesh-lab run http_visibility --datapaths none,passthrough`.
#
# **Can this machine run it?** Needs are found out by trying, not by versions.

# %%
needs = doctor.ALWAYS | datapath.find("passthrough").needs
lacking = [probe for probe in doctor.probe(needs) if not probe.there]
lacking or "everything is there"

# %% [markdown]
# **The question, as data.** Two deployments, a few rounds of 100 ms, one window for CPU, one for sockets: it shows
# how, and is too short to believe. For figures take ten deployments and twenty rounds.

# %%
load = Load(rate_per_s=1000, connections=20)
brief = Profile(
    deployments=2, rounds=6, slice_s=0.1, ladder=(1000.0,), compare=(load,), cost=(load,), hold=(load,), window_s=0.4
)
question = Scenario(
    "own", "What does a TCP proxy beside the server cost?", ("none", "passthrough"), (), {"brief": brief}
)

# %% [markdown]
# **Measure.** `session.start` writes a results folder like any other, with raw requests, gates and a report.

# %%
if lacking:
    print(f"NOT MEASURED HERE: {lacking[0].need} is missing: {lacking[0].detail}; {lacking[0].mend}.")
    print("What follows reads the published run 20261123-quick instead: pernode in place of your datapath.")
    run = report.open("results/20261123-quick")
else:
    plan = planning.plan([question], "brief", seed=1, awake=session.on_virtual_machine())
    run = session.start(plan, Path(tempfile.mkdtemp(prefix="my-results-")) / "own", say=print)

# %% [markdown]
# **Was it in the path?** This proxy does not count requests, so the sockets must prove it: two connections on the
# path for each of the application's, as promised.

# %%
report.connections(run).drop_duplicates(["arm", "connections"])[
    ["arm", "connections", "observed_per_connection", "expected_per_connection"]
]

# %%
connections.panels(run.summary())[0]

# %% [markdown]
# **What did the gates say?** On a busy machine many say no, and are right. Read this before the picture below.

# %%
findings = report.findings(run)
findings[~findings.passed].groupby(["gate", "arm"]).size().rename("failed").to_frame()

# %% [markdown]
# **What does it cost?** The interval of so short a run is wide, and "undecided" is the right word for most of it.

# %%
ratios.embedded(run.summary()) or report.latencies(run)[["arm", "load", "requests", "windows", "windows_void"]]

# %%
cost.panels(run.summary())[0]

# %%
print("\n".join(f"- {line}" for line in run.summary().warnings))

# %% [markdown]
# **Next.** Try it on the client's side as well (`connections = 3`); give `seen` if it counts requests, and the
# accounting proof is done for you; declare `features`, and the lab compares it only with arms that do the same. After
# a change of the file restart the kernel. `datapaths/sidecar.py` is a whole one; CONTRIBUTING.md says what a datapath
# must do to become one of the project's.
