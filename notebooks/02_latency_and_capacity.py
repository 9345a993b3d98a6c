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
# # 2. Latency and capacity
#
# What does a datapath do to response times, at which load, and where does it end? One published run on a small
# virtual machine, and two longer looks at the arm that is hardest to tell from nothing.

# %%
import pandas as pd
from lab import report
from lab.report.figures import journeys, ladder, points, ratios
from lab.report.figures.key import keyed

run = report.open("results/20261123-quick")
summary = run.summary()

# %% [markdown]
# **How far does each arm get?** Rates rise step by step. A cross is a step that was not kept: that arm is *saturated*
# there, and no latency of it is compared from there on. What saturates first here is the machine's two cores, which
# client, proxies and server share.

# %%
keyed(ladder.panels(summary)[0], summary)

# %%
report.capacity(run).groupby("arm", sort=False)[["kept_per_s", "saturated_per_s"]].first()

# %% [markdown]
# An empty `saturated_per_s` means that the ladder ended first: such an arm keeps *at least* that rate.
#
# **The tail moves earlier than the median.** The same ladder at p99. One window per step: single points wobble.

# %%
keyed(ladder.panels(summary)[1], summary)

# %% [markdown]
# **Is "three to four times" right?** It depends on what stands in the denominator. The ratio of sidecars to no mesh
# at every load that both carry: with a server that answers at once, and with one that takes 2 ms.

# %%
contrasts = report.contrasts(run)
sidecar = contrasts[(contrasts.arm == "sidecar") & (contrasts.metric == "p50")]
marks = [(1.0, "no mesh"), (4.0, "4 times")]
rows = [
    points.Point(
        f"{r.rate_per_s:,.0f}/s" + (f", server takes {r.service_time_s * 1e3:.0f} ms" if r.service_time_s else ""),
        r.ratio,
        r.ratio_low,
        r.ratio_high,
        f"{r.ratio:.2f} [{r.ratio_low:.2f}, {r.ratio_high:.2f}]",
    )
    for r in sidecar.sort_values(["service_time_s", "rate_per_s"]).itertuples()
]
chart = points.Chart(
    "Sidecars: median response time", "ratio to no mesh (logarithmic), 95 % interval", rows, log=True, marks=marks
)
points.draw("multiple", "Ratio of sidecars to no mesh", chart)

# %% [markdown]
# **Ratios and differences tell different stories.** A ratio to an application that does nothing says how fast the
# application is. What a request pays is the difference, in milliseconds.

# %%
shown = ["load", "arm", "ratio", "difference_s", "difference_s_low", "difference_s_high", "verdict"]
paid = contrasts.query("metric == 'p50' and arm in ['pernode', 'sidecar']")[shown]
paid.assign(**{c: paid[c] * 1e3 for c in shown if c.startswith("difference")}).rename(
    columns=lambda c: c.replace("difference_s", "difference_ms")
).round(3)

# %% [markdown]
# **Is eBPF free?** That needs a longer look: ten deployments, only `none` (twice) and `ebpf`. "Equivalent within ±5
# %" means that the *whole* interval lies inside; anything less sure is "undecided", which is not the same as "no
# difference".

# %%
longer = pd.concat(
    report.contrasts(report.open(f"results/20261123-ebpf-{rate}")).query("metric != 'p99'") for rate in (5000, 10000)
)
rows = [
    points.Point(f"{r.rate_per_s:,.0f}/s, {r.metric}", r.ratio, r.ratio_low, r.ratio_high, r.verdict, r.arm)
    for r in longer.sort_values(["rate_per_s", "metric", "arm"]).itertuples()
]
chart = points.Chart(
    "eBPF that watches, and no mesh again",
    "ratio to no mesh, 95 % interval",
    rows,
    log=True,
    marks=[(0.95, "−5 %"), (1.0, "equal"), (1.05, "+5 %")],
)
points.draw("ebpf", "Ratio to no mesh", chart)

# %% [markdown]
# `none_again` is the same datapath as `none`. Whatever its interval shows is noise: an effect of eBPF that is not
# larger cannot be seen here. That is the limit of this machine, and `detectable` puts it in a number.

# %%
longer[
    ["load", "arm", "metric", "ratio", "noise_floor", "detectable", "deployments", "rounds", "holm_p", "verdict"]
].round(3)

# %% [markdown]
# **All arms, all loads.** The picture of the README.

# %%
ratios.embedded(summary)

# %% [markdown]
# **And people, who wait?** Above, requests come by a schedule, whether or not earlier ones were answered: an open loop.
# Users of a page wait for the answer, think, and ask again: a *closed loop*, here walked by Locust. A slow arm is asked
# less often, so these times are compared among themselves and with nothing above.

# %%
walked = report.runs().query("loop == 'closed'")
newest = report.open(walked.folder.iloc[-1]) if len(walked) else None
if newest is None:
    print("NO JOURNEYS HERE: measure some with `sudo ./mesh-lab run journeys_browse`, and come back.")
for picture in journeys.panels(newest.summary()) if newest else ():
    display(picture)

# %%
if newest:
    shown = ["journey", "step", "arm", "users", "requests", "failures", "time_p50_s", "time_p99_s", "throughput_per_s"]
    display(report.steps(newest)[shown].round(4))

# %% [markdown]
# **For a slide**: every picture here can be saved as PNG, PDF or SVG, e.g.
# `ratios.embedded(summary).save("ratios.pdf")`.
#
# Try next: another metric (`metric == 'p99'`), a run of your own (`sudo ./mesh-lab run http_visibility`),
# `report.rounds(run)`.
