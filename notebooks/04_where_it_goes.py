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
# # 4. Where it goes
#
# A slower request spent its time somewhere. CPU per request by part, what one more hop costs, what each eBPF feature
# costs by the kernel's own count, and what nobody in the lab is to blame for.

# %%
from lab import gates, report
from lab.report.figures import cost, points, steal
from lab.report.units import time

run = report.open("results/20261123-quick")

# %% [markdown]
# **Who spends the CPU of a request?** Whole windows, all processes by part. `kernel` is what belongs to no process
# (soft interrupts, idle turns); the black line is the share inside BPF programs, which is contained in the others.

# %%
cost.panels(run.summary())[0]

# %%
costs = report.costs(run)
at = costs[costs.load == "cost-1000"].assign(us=lambda f: f.per_request_s * 1e6)
at.pivot_table(index="arm", columns=["part", "kind"], values="us", sort=False).round(1)

# %% [markdown]
# **How much more than without a mesh, and how sure is it?** Totals with their intervals. Where two overlap, nothing
# is known.

# %%
totals = at[at.part == "total"]
rows = [
    points.Point(r.arm, r.us, r.per_request_s_low * 1e6, r.per_request_s_high * 1e6, time(r.per_request_s))
    for r in totals.itertuples()
]
points.draw(
    "totals",
    "CPU per request",
    points.Chart("All parts together, at 1,000/s", "CPU per request (µs), 95 % interval", rows),
)

# %% [markdown]
# **What do the features of eBPF cost?** The kernel counts the run time of every program (`bpf_stats`), in windows of
# their own, since counting costs time, too.

# %%
features = report.costs(report.open("results/20261128-ebpf-features")).query("part == 'bpf'")
rows = [
    points.Point(
        r.arm,
        r.per_request_s * 1e6,
        r.per_request_s_low * 1e6,
        r.per_request_s_high * 1e6,
        f"{r.per_request_s * 1e6:.2f} µs",
        f"{r.rate_per_s:,.0f} requests/s",
    )
    for r in features.sort_values(["rate_per_s", "per_request_s"]).itertuples()
    if r.per_request_s > 0
]
chart = points.Chart("Time in BPF programs", "µs per request, 95 % interval", rows)
points.draw("features", "Time in BPF per request", chart)

# %% [markdown]
# At the higher rate each request costs *less*, probably since caches stay warm. A cost per request without its rate
# is half a number. Policy is a parser of its own, so it about doubles the price; tracing that samples few requests is
# lost in the interval.

# %% [markdown]
# **What does a call cost, by rate and by path?** In `20261123-hop-costs` each architecture was measured alone, at
# rates from 250/s to 4,000/s.

# %%
hops = report.observations(report.open("results/20261123-hop-costs"))
single = hops[hops.parameter_hops.isna()] if "parameter_hops" in hops else hops
response = single[single.metric == "response_q50_s"]
table = response.pivot_table(index="subject", columns="parameter_rate", values="value", aggfunc="median") * 1e3
table.rename_axis(columns="p50 in ms, by requests/s").round(3)

# %% [markdown]
# **And the CPU of it**, at the highest of these rates: the median of the repeats, with the least and the most.

# %%
cpu = single[(single.metric == "cpu_total_s") & (single.parameter_rate == single.parameter_rate.max())]
spread = cpu.groupby("subject").value.agg(["median", "min", "max"]).sort_values("median") * 1e6
rows = [points.Point(r.Index, r.median, r.min, r.max, f"{r.median:.0f} µs") for r in spread.itertuples()]
chart = points.Chart(
    f"One call at {single.parameter_rate.max():,.0f}/s, each arm alone",
    "CPU per request (µs), least to most of the repeats",
    rows,
)
points.draw("call", "CPU of a call", chart)

# %% [markdown]
# **Is the engine's clock right?** A BPF program reads the kernel's clock as bytes pass the client's socket. What the
# engine adds is waking up.

# %%
referee = {k: v * 1e6 for k, v in run.summary().referee.items() if k.endswith("1000.service_p50_engine_minus_kernel_s")}
{name.partition(".")[0]: f"{value:.0f} µs" for name, value in referee.items()}

# %% [markdown]
# **What was taken by others?** On a virtual machine the hypervisor takes cores away. Windows above the limit are
# labelled and verdicts that change without them say so.

# %%
host = report.host(run)
steal.panel(host, gates.MOST_STEAL)

# %%
host[["steal_share", "softirq_share", "cpu_pressure", "context_switches_per_s"]].describe().loc[
    ["mean", "50%", "max"]
].round(3)

# %% [markdown]
# Limits: CPU time on a busy virtual core includes what the hypervisor did behind our back; user and system times come
# from the scheduler's clock and are good to a few per cent, BPF's are measured inside each run. Compare parts, not
# totals, where `kernel` is large.
