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
# # 1. Read a run
#
# A run is a folder: what was planned, the machine, every raw request, what the meters saw, and a summary of it all.
# Here you open one and look at each layer, from the verdict down to a single request. Nothing needs root.
#
# `RUN` is the folder: the published run, or one of your own, as `sudo ./mesh-lab reproduce` makes it. (Without Jupyter:
# `./mesh-lab notebook 01 --run results/YOURS` executes this and writes a page.)

# %% tags=["parameters"]
RUN = "results/20261123-quick"

# %%
from lab import report
from lab.report.figures import ecdf, gates, ratios, rounds, turns
from lab.report.figures.key import keyed
from lab.report.selection import responses

run = report.open(RUN)
latencies = report.latencies(run)
judged = latencies[latencies.requests > 0]
assert len(judged), f"no slices of {RUN} count: take a run of http_visibility, on a machine that is quiet enough"
load = judged.load.iloc[0]  # the one that is looked at below, and its slowest arm
arm = judged[judged.load == load].sort_values("response_p50_s").arm.iloc[-1]
run.plan.command, run.plan.created, run.plan.seed

# %% [markdown]
# **On which machine?** No number below means anything without this.

# %%
{name: run.system[name] for name in ("processor", "cores", "virtual", "kernel", "distribution")}

# %% [markdown]
# **What did it find?** Each arm's median response time as a ratio to `none`, the same application without a mesh. A
# bar is the 95 % interval over deployments; the grey band is what two arms differed by that *are* the same (`none` is
# measured twice). Inside the band there is nothing to see.

# %%
ratios.embedded(run.summary())

# %% [markdown]
# **The same as a frame.** All frames have documented columns; names end in their unit (`_s` seconds, `_bytes` bytes).

# %%
contrasts = report.contrasts(run)
shown = ["load", "arm", "ratio", "ratio_low", "ratio_high", "noise_floor", "detectable", "verdict"]
contrasts.query("metric == 'p50'")[shown].round(3)

# %%
report.columns(report.contrasts).set_index("column").meaning[["ratio", "noise_floor", "detectable", "holm_p"]].to_dict()

# %% [markdown]
# **In what order was it measured?** Every arm is deployed at once; their turns are 100 ms long, in random order, all
# of them in every round. So a slow second of the machine meets all arms alike, and no two arms compete.

# %%
turns.panel(report.windows(run), load, rounds=8)

# %% [markdown]
# **What is an interval made from?** One dot is one round: the arm's median over the median of `none` beside it. A
# dashed line is a redeployment. Watch whether the dots drift, or jump from deployment to deployment.

# %%
for picture in rounds.panels(run.summary())[:1]:
    display(picture)

# %% [markdown]
# **Which data was thrown away, and why?** Gates judge every block of windows. Most void it for one metric, or for
# all; `steal` only labels. What was left out is counted, never hidden.

# %%
gates.panel(run.summary())

# %%
findings = report.findings(run)
findings[~findings.passed & (findings.gate != "steal")][["trial", "arm", "block", "gate", "value", "limit"]].head(8)

# %% [markdown]
# **Was the datapath in the path at all?** What it counted must equal what was put on the wire, to the last request.

# %%
report.accounting(run).assign(equal=lambda f: f.sent == f.seen)

# %% [markdown]
# **Down to a request.** Times are nanoseconds since the block's epoch; `response_s` counts from the *scheduled* send,
# so a stall is charged to everybody who would have met it.

# %%
requests = report.requests(run, arm, load)
requests[["scheduled_ns", "sent_ns", "first_byte_ns", "done_ns", "response_s", "lag_s", "judged", "valid"]].head()

# %% [markdown]
# **The summary can be had from the requests.** The median over judged, answered requests of valid blocks is the one
# in the table. `mesh-lab check RUN --strict` does this for every number.

# %%
kept = requests[requests.judged & requests.valid & (requests.outcome == "ok")]
told = latencies.set_index(["arm", "load"]).response_p50_s[arm, load]
assert abs(kept.response_s.median() - told) < 1e-9
f"{arm} at {load}: {told * 1e3:.3f} ms, from {len(kept):,} requests"

# %% [markdown]
# **A median hides what users feel.** The whole distribution, on an axis that gives the slowest 1 % as much room as
# the rest.

# %%
keyed(ecdf.panels(run.summary(), responses(run))[0], run.summary())

# %% [markdown]
# **What limits this run, in its own words.** Read these before you quote any number.

# %%
print("\n".join(f"- {line}" for line in run.summary().warnings))
