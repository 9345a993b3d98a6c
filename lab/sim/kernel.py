"""The loop of the request-level engine, in machine code. `lab.sim.requests` prepares its arrays and reads them after.

**Events.** Every request in flight (and every branch of a fork) is a frame, and waits for at most one event, so a frame
is its own entry in the calendar queue (Brown, CACM 31(10), 1988): buckets of equal width in a ring, each a list sorted
by time, in the order of arrival among equals. Nothing is allocated while it runs; free frames are a list through the
same column. One event is one arrival at a station: its waiting time follows from when the worker is free, so the end of
service is known at once. Arrays are indexed, never sliced, and what every visit does
stands in the loop itself: views, and arrays given to functions, count references by locked additions (30 ns a visit).

Random numbers: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a counter and a mixer.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# annotations would say float and int where Numba has widths of its own

from __future__ import annotations

import math

import numpy as np

from lab.sim.native import native
from lab.sim.program import (
    AGAIN,
    BASE,
    CELLS,
    COUNT,
    EXIT,
    FIRST,
    FORK,
    GROUP,
    KIND,
    MAYBE,
    OP,
    PAUSE,
    PICK,
    PLACES,
    PLAIN,
    SEVERAL,
    SLOT,
    TABLE,
    VISIT,
)
from lab.sim.times import EXPONENTIAL, FIXED, QUANTILES

# columns of frames (int32) and of their times
PC, PARENT, PENDING, FAILED, CLASS, NEXT, SLOTS = range(7)
TIME, BEGUN, JOINED = range(3)
# columns of stations
FREE, BUSY, WAITED, VISITS = range(4)
# places in the kernel's own registers, kept between its runs
DAY, VACANT, ROOM, QUEUED, ALIVE, AREA, STEPS = range(7)
INVERSE, UNTIL, LAST, COUNTED, LINE = range(5)
DONE, GROW, REACHED = range(3)
# columns of sums by class
REQUESTS, TOTAL, SQUARES, LONGEST, FAILURES = range(5)

SHARE = 64  # histogram buckets per factor of two: at most 0.8 % from a bucket's middle to its edge
LOWEST = (1023 - 27) * SHARE  # of 2^-27 s = 7.5 ns
BUCKETS = 38 * SHARE  # up to 2^11 s

WAIT_KIND, FAIL_KIND, DRAIN_KIND, SLOW_KIND = 0, 1, 2, 3  # lab.sim.program.OUTAGES

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
M1, M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S30, S27, S31, S11, S32 = (np.uint64(n) for n in (30, 27, 31, 11, 32))
UNIT = 1.0 / (1 << 53)
PHASE = 0.6180339887498949


@native
def mixed(z):
    """SplitMix64's output for one value of its counter."""
    z = (z ^ (z >> S30)) * M1
    z = (z ^ (z >> S27)) * M2
    return z ^ (z >> S31)


@native
def uniform(z):
    """53 random bits as a number in [0, 1)."""
    return (mixed(z) >> S11) * UNIT


@native
def gamma(shape, scale, seed):
    """Marsaglia and Tsang (ACM TOMS 26, 2000); below shape 1 by their boost. Returns the draw and the counter."""
    boost = 1.0
    if shape < 1.0:
        seed = seed + GOLDEN
        boost = (1.0 - uniform(seed)) ** (1.0 / shape)
        shape = shape + 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        seed = seed + GOLDEN
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed)))
        seed = seed + GOLDEN
        x = radius * math.cos(2.0 * math.pi * uniform(seed))
        v = (1.0 + c * x) ** 3
        if v > 0.0:
            seed = seed + GOLDEN
            if math.log(1.0 - uniform(seed)) < 0.5 * x * x + d - d * v + d * math.log(v):
                return d * v * boost * scale, seed


@native
def drawn(kind, a, b, seed):
    """One time of a distribution that has no table, and the counter after it."""
    if kind == FIXED:
        return a, seed
    if kind == EXPONENTIAL:
        seed = seed + GOLDEN
        return -a * math.log(1.0 - uniform(seed)), seed
    return gamma(a, b, seed)


@native
def put(head, event, frames, f, t, inverse, mask):
    """Frame `f` waits for time `t`: behind all that wait for the same or an earlier time in its bucket."""
    event[f, TIME] = t
    bucket = np.int64(t * inverse) & mask
    after = head[bucket]
    if after < 0 or event[after, TIME] > t:
        frames[f, NEXT] = after
        head[bucket] = f
        return
    before = after
    after = frames[before, NEXT]
    while after >= 0 and event[after, TIME] <= t:
        before = after
        after = frames[before, NEXT]
    frames[f, NEXT] = after
    frames[before, NEXT] = f


@native
def replaced(workers, first, servers, time):
    """The least of a heap of workers' free times gives way to `time`."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= servers:
            break
        if child + 1 < servers and workers[first + child + 1] < workers[first + child]:
            child += 1
        if workers[first + child] >= time:
            break
        workers[first + i] = workers[first + child]
        i = child
    workers[first + i] = time


@native
def throttled(start, need, budget, period, s, used):
    """Serve `need` seconds from `start` under a quota. `used`: the period's number and the CPU spent in it, changed.

    Returns when the work first ran and when it ended.
    """
    phase = (s * PHASE) % 1.0 * period
    k = math.floor((start - phase) / period)
    if k > used[s, 0]:
        used[s, 0], used[s, 1] = k, 0.0
    now, began = start, -1.0
    while True:
        end = phase + (used[s, 0] + 1) * period
        room = min(budget - used[s, 1], end - now)
        if room > 0.0:
            began = now if began < 0.0 else began
            run = min(need, room)
            need -= run
            used[s, 1] += run
            now += run
            if need <= 0.0:
                return began, now
        now = max(now, end)
        used[s, 0] += 1.0
        used[s, 1] = 0.0


@native
def special(s, t, free, service, downs, low, high, budget, period, used):  # noqa: PLR0912
    """One visit where outages or a quota may interfere: when it starts, ends, frees the worker; CPU time; failed?"""
    start = max(t, free)
    for i in range(low, high):
        if downs[i, 0] <= s < downs[i, 1]:
            kind, a, b = downs[i, 2], downs[i, 3], downs[i, 4]
            if kind == FAIL_KIND:
                if a <= t < b:
                    return t, t, free, 0.0, True
                if t < a <= start:  # it was in the queue when the station went down
                    return a, a, free, 0.0, True
            elif kind == SLOW_KIND:
                if a <= start < b:
                    service = service * downs[i, 5]
            elif a <= start < b and (kind == WAIT_KIND or t >= a):
                start = b
    if budget > 0.0:
        start, end = throttled(start, service, budget, period, s, used)
    else:
        end = start + service
    for i in range(low, high):
        if downs[i, 0] <= s < downs[i, 1]:
            kind, a, b = downs[i, 2], downs[i, 3], downs[i, 4]
            if start < a < end:
                if kind == FAIL_KIND:
                    return start, a, b, a - start, True
                if kind == WAIT_KIND:
                    end = end + (b - a)
    return start, end, end, service, False


@native
def bucket_of(time):
    """Which histogram bucket a time falls into: exponent and first six bits of its mantissa."""
    mantissa, exponent = math.frexp(time)  # time = mantissa · 2^exponent, mantissa in [0.5, 1)
    if time <= 0.0:
        return 0
    return min(max((exponent + 26) * SHARE + int((mantissa - 0.5) * (2 * SHARE)), 0), BUCKETS - 1)


@native
def recorded(one, begun, time, failed, counted, per_s, sums, histogram, line):
    """A request is back; those that arrived during the warm-up are not counted."""
    if begun < counted:
        return
    part = min(int(begun * per_s), line.shape[1] - 1)
    if failed:
        sums[one, FAILURES] += 1
        line[one, part, FAILURES] += 1
        return
    sums[one, REQUESTS] += 1
    sums[one, TOTAL] += time
    sums[one, SQUARES] += time * time
    sums[one, LONGEST] = max(sums[one, LONGEST], time)
    line[one, part, REQUESTS] += 1
    line[one, part, TOTAL] += time
    line[one, part, SQUARES] += time * time
    line[one, part, LONGEST] = max(line[one, part, LONGEST], time)
    histogram[one, bucket_of(time)] += 1


@native
def run(  # noqa: PLR0912, PLR0915 - one loop: what it keeps in registers is its speed
    code, real, tables, places, branches, entries, gaps, groups, downs, quotas,
    head, event, frames, stations, workers, used, sums, histogram, line, whole, clock, random, spare, watch,
):  # fmt: skip
    """Go on until `clock[UNTIL]`, until nothing is left, or until frames run short; returns which.

    `watch` keeps requests alive until their last service ends (one more event each), so that ALIVE is exact.
    """
    inverse, until, last = clock[INVERSE], clock[UNTIL], clock[LAST]
    counted, per_s = clock[COUNTED], clock[LINE]
    day, vacant, room, queued = whole[DAY], whole[VACANT], whole[ROOM], whole[QUEUED]
    alive, area, steps = whole[ALIVE], whole[AREA], whole[STEPS]
    mask, classes, seed = len(head) - 1, len(entries), random[0]
    status = DONE
    while True:
        f = np.int64(head[day & mask])
        if f < 0 or np.int64(event[f, TIME] * inverse) > day:
            if queued == 0 or day >= until * inverse:
                status = DONE if queued == 0 else REACHED
                break
            day += 1
            area += alive
            continue
        t = event[f, TIME]
        if t >= until:
            status = REACHED
            break
        if room < spare:
            status = GROW
            break
        head[day & mask] = frames[f, NEXT]
        queued -= 1
        if f < classes:  # the source of a class: a new request, and the next one's time
            new = np.int64(vacant)
            vacant = np.int64(frames[new, NEXT])
            room -= 1
            alive += 1
            frames[new, PARENT] = -1
            frames[new, FAILED] = 0
            frames[new, CLASS] = f
            event[new, BEGUN] = t
            gap = gaps[f]
            if gap > 0.0:
                seed = seed + GOLDEN
                gap = -gap * math.log(1.0 - uniform(seed))
            else:
                gap = -gap
            if t + gap < last:
                put(head, event, frames, f, t + gap, inverse, mask)
                queued += 1
            pc = np.int64(entries[f])
            f = new
        else:
            pc = np.int64(frames[f, PC])
        waits = False
        moved = False  # has this frame's time run ahead of the calendar's?
        while True:
            op = code[pc, OP]
            if op == VISIT:
                if moved:
                    waits = True
                    break
                steps += 1
                member = np.int64(frames[f, SLOTS + code[pc, SLOT]])
                if code[pc, PLACES] >= 0:
                    member = np.int64(places[code[pc, PLACES] + member])
                s = code[pc, BASE] + member
                if code[pc, KIND] == QUANTILES:
                    seed = seed + GOLDEN
                    at = uniform(seed) * code[pc, CELLS]
                    cell = int(at)
                    low = tables[code[pc, TABLE] + cell]
                    service = low + (at - cell) * (tables[code[pc, TABLE] + cell + 1] - low)
                else:
                    service, seed = drawn(code[pc, KIND], real[pc, 0], real[pc, 1], seed)
                group = code[pc, GROUP]
                treatment = groups[group, 2]
                failed = False
                if treatment == PLAIN:
                    start = max(t, stations[s, FREE])
                    end = start + service
                    stations[s, FREE] = end
                elif treatment == SEVERAL:
                    first = groups[group, 3] + member * groups[group, 1]
                    beyond = first + groups[group, 1]
                    start = max(t, workers[first])
                    end = start + service
                    place = first  # as `replaced` does
                    child = first + 1
                    while child < beyond:
                        if child + 1 < beyond and workers[child + 1] < workers[child]:
                            child += 1
                        if workers[child] >= end:
                            break
                        workers[place] = workers[child]
                        place = child
                        child = first + 2 * (place - first) + 1
                    workers[place] = end
                else:
                    several = groups[group, 1] > 1
                    first = groups[group, 3] + member * groups[group, 1]
                    free = workers[first] if several else stations[s, FREE]
                    start, end, free, service, failed = special(
                        s, t, free, service, downs, groups[group, 4], groups[group, 5],
                        quotas[group, 0], quotas[group, 1], used,
                    )  # fmt: skip
                    if several:
                        replaced(workers, first, groups[group, 1], free)
                    else:
                        stations[s, FREE] = free
                stations[s, BUSY] += service
                stations[s, WAITED] += start - t
                stations[s, VISITS] += 1.0
                t = end
                moved = True
                pc += 1
                if failed:
                    frames[f, FAILED] = 1
                    pc = np.int64(code[pc, EXIT])
            elif op == PAUSE:
                if code[pc, KIND] == QUANTILES:
                    seed = seed + GOLDEN
                    at = uniform(seed) * code[pc, CELLS]
                    cell = int(at)
                    low = tables[code[pc, TABLE] + cell]
                    pause = low + (at - cell) * (tables[code[pc, TABLE] + cell + 1] - low)
                else:
                    pause, seed = drawn(code[pc, KIND], real[pc, 0], real[pc, 1], seed)
                t += pause
                moved = True
                pc += 1
            elif op == PICK:
                seed = seed + GOLDEN
                number = np.int64(((mixed(seed) >> S32) * np.uint64(code[pc, COUNT])) >> S32)
                frames[f, SLOTS + code[pc, SLOT]] = code[pc, FIRST] + number
                pc += 1
            elif op == MAYBE:
                seed = seed + GOLDEN
                pc = pc + 1 if uniform(seed) < real[pc, 0] else np.int64(code[pc, FIRST])
            elif op == AGAIN:
                seed = seed + GOLDEN
                pc = np.int64(code[pc, FIRST]) if uniform(seed) < real[pc, 0] else pc + 1
            elif op == FORK:
                if room < spare:  # a chain of forks in one turn: come back at `t`, when there may be more frames
                    waits = True
                    break
                frames[f, PENDING] = code[pc, COUNT]
                frames[f, PC] = pc + 1
                event[f, JOINED] = t
                for i in range(code[pc, COUNT]):
                    child = np.int64(vacant)
                    vacant = np.int64(frames[child, NEXT])
                    frames[child, PC] = branches[code[pc, FIRST] + i]
                    frames[child, PARENT] = f
                    frames[child, FAILED] = 0
                    for k in range(SLOTS, frames.shape[1]):
                        frames[child, k] = frames[f, k]
                    put(head, event, frames, child, t, inverse, mask)
                room -= np.int64(code[pc, COUNT])
                queued += np.int64(code[pc, COUNT])
                break
            else:  # END
                parent = np.int64(frames[f, PARENT])
                if parent < 0 and watch and moved:
                    waits = True
                    break
                frames[f, NEXT] = vacant
                vacant = f
                room += 1
                if parent < 0:
                    alive -= 1
                    begun = event[f, BEGUN]
                    recorded(
                        frames[f, CLASS], begun, t - begun, frames[f, FAILED], counted, per_s, sums, histogram, line
                    )
                    break
                event[parent, JOINED] = max(event[parent, JOINED], t)
                frames[parent, FAILED] |= frames[f, FAILED]
                frames[parent, PENDING] -= 1
                if frames[parent, PENDING] > 0:
                    break
                f = parent  # the last one back: the parent goes on at the latest of their times
                t = event[f, JOINED]
                moved = True
                pc = np.int64(code[frames[f, PC] - 1, EXIT]) if frames[f, FAILED] else np.int64(frames[f, PC])
        if waits:  # as `put` does
            frames[f, PC] = pc
            event[f, TIME] = t
            bucket = np.int64(t * inverse) & mask
            after = np.int64(head[bucket])
            if after < 0 or event[after, TIME] > t:
                head[bucket] = f
            else:
                before = after
                after = np.int64(frames[before, NEXT])
                while after >= 0 and event[after, TIME] <= t:
                    before = after
                    after = np.int64(frames[before, NEXT])
                frames[before, NEXT] = f
            frames[f, NEXT] = after
            queued += 1
    whole[DAY], whole[VACANT], whole[ROOM], whole[QUEUED] = day, vacant, room, queued
    whole[ALIVE], whole[AREA], whole[STEPS] = alive, area, steps
    random[0] = seed
    return status
