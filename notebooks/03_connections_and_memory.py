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
# # 3. Connections and memory
#
# One connection of the application becomes one, two or three. What does each of them hold, and what does a proxy hold
# before the first request comes?

# %%
from lab import report
from lab.report import units
from lab.report.figures import connections, growth, memory, points

run = report.open("results/20261123-quick")
summary = run.summary()

# %% [markdown]
# **How many connections are there really?** Sockets are counted in every namespace on the path while they are held;
# the black tick is what the arm says it makes of one connection.

# %%
for picture in connections.panels(summary):
    display(picture)

# %% [markdown]
# **Where are they?** One row a place: each proxy has a socket towards the client and one towards the server.

# %%
paths = report.connections(run)
held = paths[paths.connections == 100]
held.pivot_table(index=["arm", "place"], values="sockets", sort=False)

# %% [markdown]
# **What does a connection hold in the kernel?** Structures and buffers of all sockets on its path, idle. Three
# connections instead of one cost three times as much, here as anywhere.

# %%
held.groupby("arm", sort=False)[
    ["observed_per_connection", "traced_per_connection", "memory_bytes_per_connection"]
].first()

# %% [markdown]
# **And what does the datapath's process hold?** *Private* is what one more of it costs, *PSS* divides shared pages
# among those who share them, *RSS* counts them once a process and so too often, *BPF* are maps and programs. Ask
# which of them a published figure was.

# %%
memory.panels(summary)[0]

# %%
report.memory(run).query("part == 'datapath'")[
    ["load", "arm", "processes", "places", "private_bytes", "pss_bytes", "rss_bytes", "bpf_bytes"]
]

# %% [markdown]
# **What makes a proxy grow?** In `20261123-proxy-memory` proxies were given tables of many sizes, each measured alone
# and at rest. A law says what the memory should be made of; its coefficients have intervals by bootstrap over cases.

# %%
tables = report.open("results/20261123-proxy-memory")
coefficients = report.coefficients(tables)
law = coefficients[(coefficients.law == "envoy_static_dirty") & (coefficients.term != "base")]
rows = [
    points.Point(
        f"one more {r.term.replace('worker_cluster', 'worker × cluster').replace('tls_context', 'TLS context')}",
        r.value / 2**10,
        r.low / 2**10,
        r.high / 2**10,
        units.size(r.value),
    )
    for r in law.itertuples()
]
chart = points.Chart("What Envoy holds for each thing it knows", "KiB (logarithmic), 95 % interval", rows, log=True)
points.draw("each", "Memory for one more of each", chart)

# %% [markdown]
# `worker × cluster` is the term that hurts: every worker thread keeps its own copy of every cluster.
#
# **Does the law say what was measured?** Every case against its law: on the line they agree.

# %%
for picture in growth.panels(tables.summary())[:2]:
    display(picture)

# %%
sizes = report.sizes(tables)
(sizes.fitted / sizes.value - 1).abs().groupby(sizes.law).describe()[["count", "50%", "max"]].round(3).head(8)

# %% [markdown]
# The median case is off by little, the worst by more: a law is a straight line, and allocators are not. Mind `max`
# before you multiply.
#
# **Does the second proxy cost as much as the first?** Processes of one binary share its pages, so PSS of a proxy
# falls with their number, and what is private stays.

# %%
crowd = coefficients[coefficients.law.str.startswith("crowd")]
crowd.assign(MiB=crowd.value / 2**20, low_MiB=crowd.low / 2**20, high_MiB=crowd.high / 2**20)[
    ["law", "term", "MiB", "low_MiB", "high_MiB", "n"]
].round(2)

# %% [markdown]
# **The kernel's side of a connection**, by the slab counters, with and without connection tracking.

# %%
sockets = report.coefficients(report.open("results/20261123-socket-memory"))
rows = [
    points.Point(
        f"{r.law.replace('_', ' ')}: {r.term}", r.value / 2**10, r.low / 2**10, r.high / 2**10, units.size(r.value)
    )
    for r in sockets[sockets.term.isin(["socket", "connection"]) & (sockets.unit == "bytes")].itertuples()
    if r.low > 0
]
chart = points.Chart("What one more connection holds", "KiB (logarithmic), 95 % interval", rows, log=True)
points.draw("connection", "Memory for one more connection", chart)

# %% [markdown]
# Limits: one kernel, one version of each proxy, tables as this lab writes them. What a mesh product adds
# (certificates, statistics by path, its own agents) is on top; the names stand in `report.observations(tables)` and
# can be measured in the same way.
