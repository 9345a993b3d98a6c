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
# # 5. A fleet of 15,000 pods
#
# The post says: 15,000 sidecars hold 1.5 TB, 500 node proxies hold 34 GB. Nobody here has 500 nodes. What can be said
# is **simulated**: counts in the fleet, times coefficients that were measured on one machine. This notebook shows the
# answer, what it hangs on, and how often such predictions came true where they could be checked.

# %%
from lab import report
from lab.report.figures import fleet, foretold, points
from lab.report.units import size

answer = report.open_forecast("results/forecasts/20261124-fleet-15k")
answer.origin, answer.asked.nodes, answer.pods, answer.services, round(answer.calls_per_s)

# %% [markdown]
# **From which machine do the coefficients come?** Another kernel or proxy version needs its own: `mesh-lab
# calibrate`.

# %%
answer.machine, answer.runs

# %% [markdown]
# **Memory of the fleet, beside the post's figures.** *Full*: every proxy knows the whole cluster, as without any
# tuning. *Scoped*: each knows what its pods call.

# %%
memory = report.fleet(answer).set_index("arm")
rows = [
    points.Point(
        arm,
        *(row[f"{kind}_bytes{end}"] / 2**30 for end in ("", "_low", "_high")),
        size(row[f"{kind}_bytes"]),
        f"{kind} tables",
    )
    for kind in ("full", "scoped")
    for arm, row in memory.iterrows()
]
marks = [(34e9 / 2**30, "post: 34 GB in node proxies"), (1.5e12 / 2**30, "post: 1.5 TB")]
chart = points.Chart(
    "Memory of 500 nodes with 15,000 pods (simulated)",
    "GiB in the whole fleet (logarithmic), 95 % interval",
    rows,
    log=True,
    words="{:,.0f}".format,
    marks=marks,
)
points.draw("fleet", "Simulated memory of the fleet", chart)

# %% [markdown]
# So 1.5 TB is what full tables of 1,000 services come to *here*, by another way than the post's (15,000 × 70 MB is
# 1.05 TB). Smaller tables take five sixths of it away. Node proxies need less in both cases, and more than 34 GB.
# `none` is what the sockets of the application alone hold.

# %% [markdown]
# **What is it made of?** Most is table, not proxy: the term that grows with services × proxies.

# %%
parts = report.fleet_parts(answer)
parts.assign(GiB=parts.memory_bytes / 2**30).pivot_table(index="quantity", columns="arm", values="GiB").round(1)

# %%
fleet.panels(answer)[0]

# %% [markdown]
# **Processors and latency.** Cores that datapaths keep busy at the forecast's calls, and requests from outside with
# all the calls they cause, by two engines that check each other: a formula, and requests one by one.

# %%
memory[["cores", "cores_low", "cores_high"]].round(2)

# %%
report.fleet_latency(answer).assign(
    **{n: lambda f, n=n: f[n] * 1e3 for n in ("mean_s", "p50_s", "p99_s", "p999_s")}
).rename(columns=lambda n: n.replace("_s", "_ms")).round(2)

# %% [markdown]
# **What does the answer hang on?** Sobol indices: the share of the variance of a fleet's memory that goes with an
# input, all others moving as well. Intervals of coefficients are measured; ranges of habits (connections per callee,
# workers, routes) are *assumed*, and wide on purpose.

# %%
indices = report.indices(answer)
rows = [
    points.Point(r.name, r.total, max(r.total - r.width, 0), r.total + r.width, f"{r.total:.0%}", r.arm)
    for arm, mine in indices.groupby("arm")
    for r in mine.nlargest(5, "total").itertuples(index=False)
]
chart = points.Chart(
    "What decides the memory (simulated)", "total Sobol index, 95 % interval", rows, words="{:.0%}".format
)
points.draw("sobol", "Total Sobol indices", chart)

# %% [markdown]
# For node proxies one habit nobody measured decides nearly everything. Before you believe the figure for your fleet,
# count your connections.
#
# **In bytes instead of shares**: one input at a time at the ends of its range.

# %%
swings = report.swings(answer)
swings.assign(low_GiB=swings.low / 2**30, high_GiB=swings.high / 2**30).groupby("arm").head(5)[
    ["arm", "name", "low_GiB", "high_GiB"]
].round(1)

# %% [markdown]
# **How far off are such predictions?** Predictions of sizes nobody had measured stood in a plan whose hash is in
# every file measured afterwards. Then they were measured. This is the most honest picture of the lab: misses are
# drawn as crosses.

# %%
holdout = report.holdout(report.open("results/20261123-holdout"))
foretold.panel(holdout)

# %%
holdout.assign(off=holdout.error.abs()).groupby("metric").agg(
    predictions=("passed", "size"),
    passed=("passed", "sum"),
    covered=("covered", "sum"),
    median_error=("off", "median"),
    worst=("off", "max"),
).round(3)

# %% [markdown]
# Memory came true; CPU and tails often did not, and many intervals of times are so wide that they hold anything. Read
# the fleet's memory as an estimate, its CPU as an order of magnitude, its p99.9 as a question.
#
# **What others have published**, multiplied by this fleet: other machines, loads and tables.

# %%
report.published_footprints(answer)[["name", "per", "memory_bytes", "cores", "conditions", "date"]]

# %% [markdown]
# **Notes of the answer itself.** Try next: `mesh-lab simulate fleet_15k --nodes 50 --sweep services=50,200,1000`.

# %%
print("\n".join(f"- {line}" for line in (*answer.words, *answer.notes)))
