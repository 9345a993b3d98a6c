/* The steady open-loop engine: one thread, one schedule, a fixed set of keep-alive HTTP/1.1 connections.
 *
 * Request k is due at table[k].scheduled. It goes to the connection that has been free longest (first in, first out:
 * every connection carries the same share and none is left to go idle), or waits in line when none is free; it is then
 * sent late, which `sent - scheduled` shows. A request is put on the wire at most once, and never after its give_up.
 * A closed connection is opened again at once; when that fails, the next request that is given it tries again and is
 * REFUSED if that fails too. Nothing is allocated after engine_new.
 */
#define _GNU_SOURCE
#include "connection.h"

static void send_due(struct engine *e)
{
    struct connection *c;

    while (e->next < e->last) {
        struct request *r = &e->plan.table[e->next];

        if (look(e) > e->epoch + e->plan.give_up[e->next]) {
            r->outcome = NOT_SENT;
            e->next++;
            continue;
        }
        if (e->epoch + r->scheduled > e->now || !(c = first(&e->free)))
            return;
        e->in_flight++;
        give(e, c, e->next++);
    }
}

static void handle(struct engine *e, const struct epoll_event *event)
{
    struct connection *c = &e->connections[(uint32_t)event->data.u64];
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);

    if (c->generation != generation)
        return;
    if (c->state == OPENING)
        opened(e, c, event->events);
    else if (c->state == BUSY && c->unsent && event->events & EPOLLOUT && !push(e, c))
        lose(e, c, RESET);
    if (c->generation == generation && c->state >= FREE && event->events & ~(uint32_t)EPOLLOUT)
        receive(e, c, event->events);
}

static void expire(struct engine *e)
{
    struct connection *c;

    while ((c = first(&e->under_way)) && e->now >= c->began + e->plan.timeout_ns) {
        if (c->state == OPENING)
            refuse(e, c, ETIMEDOUT);
        else
            lose(e, c, TIMEOUT);
    }
}

/* When something must be done even if nothing arrives. */
static int64_t alarm_at(struct engine *e)
{
    struct connection *c = first(&e->under_way);
    int64_t at = c ? c->began + e->plan.timeout_ns : INT64_MAX;

    if (e->next < e->last) {
        int64_t due = first(&e->free) ? e->plan.table[e->next].scheduled : e->plan.give_up[e->next] + 1;
        at = e->epoch + due < at ? e->epoch + due : at;
    }
    return at;
}

/* Sleeps at most until the alarm, then takes what came. The kernel may be late by a thousandth of what it is asked to
 * sleep (select_estimate_accuracy in fs/select.c), so long sleeps aim short and the last one is precise. */
static int pump(struct engine *e)
{
    int64_t sleep = e->plan.spin ? 0 : alarm_at(e) - look(e);
    struct timespec t;
    int n;

    sleep = sleep < 0 ? 0 : sleep > 1000000 ? sleep - sleep / 256 : sleep;
    t = (struct timespec){sleep / 1000000000, sleep % 1000000000};
    n = epoll_pwait2(e->poll, e->events, EVENTS, &t, NULL);
    if (n < 0)
        return errno;
    look(e);
    for (int i = 0; i < n; i++) {
        handle(e, &e->events[i]);
        if (e->next < e->last && e->epoch + e->plan.table[e->next].scheduled <= e->now)
            send_due(e);
    }
    expire(e);
    return 0;
}

/*
 * Opens every connection and sends one warm-up request on each. 0: done; EINTR: call again; else see counts.
 *
 * The first goes ahead alone, with a pause behind it: a proxy that meets a destination for the first time makes one
 * upstream connection too many for whoever comes before all its threads know it.
 */
int engine_open(struct engine *e)
{
    while (!e->plan.counts->failed && (e->cold || e->opened < e->plan.connections)) {
        int error;

        if (e->opened == 1 && !e->cold)
            usleep(PAUSE_US);
        while (e->opened < e->plan.connections && e->cold < (e->opened == e->cold ? 1 : OPEN_AT_ONCE)) {
            e->cold++;
            e->scratch.first_byte = -1;
            give(e, &e->connections[e->opened++], WARMUP);
        }
        if ((error = pump(e)))
            return error;
    }
    return e->plan.counts->failed ? -1 : 0;
}

/* Follows the schedule whose zero is `epoch` (CLOCK_MONOTONIC ns) and drains. 0: done; EINTR: call again. */
int engine_run(struct engine *e, int64_t epoch)
{
    int64_t back = look(e) + 100000000;
    int error = 0, slack = prctl(PR_GET_TIMERSLACK);

    prctl(PR_SET_TIMERSLACK, 1);
    e->epoch = epoch;
    e->last = e->plan.requests;
    for (send_due(e); !error && (e->next < e->last || e->in_flight); send_due(e)) {
        error = pump(e);
        if (e->plan.spin && e->now > back)
            error = COME_BACK; /* spinning meets no EINTR: let Python look for a Ctrl-C */
    }
    prctl(PR_SET_TIMERSLACK, slack);
    return error;
}

void engine_free(struct engine *e)
{
    for (int i = 0; i < e->plan.connections; i++)
        shut(&e->connections[i]);
    close(e->poll);
    free(e);
}

/* NULL, and errno, when the machine will not have it. */
struct engine *engine_new(const struct plan *plan)
{
    size_t connections = (size_t)plan->connections;
    struct engine *e = calloc(1, sizeof *e + connections * sizeof *e->connections);

    if (!e)
        return NULL;
    e->plan = *plan;
    e->free.before = e->free.after = &e->free;
    e->under_way.before = e->under_way.after = &e->under_way;
    if ((e->poll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        free(e);
        return NULL;
    }
    for (size_t i = 0; i < connections; i++) {
        struct connection *c = &e->connections[i];

        *c = (struct connection){.request = NO_REQUEST, .fd = -1, .link = {&c->link, &c->link}};
        move(c, &e->free);
    }
    return e;
}
