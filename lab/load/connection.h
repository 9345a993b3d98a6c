/* One connection's life: dialled, warmed up, given requests, lost, dialled again. Outcomes are recorded here. */
#ifndef LAB_LOAD_CONNECTION_H
#define LAB_LOAD_CONNECTION_H

#include "engine.h"

static int64_t look(struct engine *e)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return e->now = t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct connection *first(struct link *list)
{
    return list->after == list ? NULL : (struct connection *)list->after;
}

static void move(struct connection *c, struct link *list)
{
    c->link.before->after = c->link.after;
    c->link.after->before = c->link.before;
    c->link.before = list->before;
    c->link.after = list;
    list->before->after = &c->link;
    list->before = &c->link;
}

static struct request *row(struct engine *e, struct connection *c)
{
    return c->request >= 0 ? &e->plan.table[c->request] : &e->scratch;
}

static void finish(struct engine *e, struct connection *c, enum outcome outcome)
{
    struct request *r = row(e, c);

    r->outcome = outcome;
    r->status = c->answer.status;
    if (c->unsent == e->plan.head_bytes)
        r->sent = -1; /* not a byte of it left */
    if (outcome == OK)
        r->done = e->now - e->epoch;
    if (c->request == WARMUP) {
        e->cold--;
        if (outcome != OK || r->status >= 300) {
            e->plan.counts->failed = 1 + outcome;
            e->plan.counts->status = r->status;
        }
    } else {
        e->in_flight--;
    }
    c->request = NO_REQUEST;
}

static void rest(struct engine *e, struct connection *c, enum state state)
{
    c->state = state;
    move(c, &e->free);
}

static void shut(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->generation++;
}

static void refuse(struct engine *e, struct connection *c, int error)
{
    shut(c);
    e->plan.counts->error = error;
    if (c->request != NO_REQUEST)
        finish(e, c, REFUSED);
    rest(e, c, CLOSED);
}

static void dial(struct engine *e, struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = e->plan.address, .sin_port = htons(e->plan.port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    int on = 1;

    c->state = OPENING;
    c->served = 0;
    c->began = look(e);
    c->unsent = e->plan.head_bytes;
    c->answer.status = 0;
    move(c, &e->under_way);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    event.data.u64 = (uint64_t)c->generation << 32 | (uint32_t)(c - e->connections);
    if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        epoll_ctl(e->poll, EPOLL_CTL_ADD, c->fd, &event) ||
        (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS && errno != EINTR))
        refuse(e, c, errno);
}

static void redial(struct engine *e, struct connection *c)
{
    e->plan.counts->reconnects++;
    dial(e, c);
}

/* The connection is gone. One that dies young and idle waits for its next request: a server that hangs up on every
 * newcomer would otherwise be dialled without end. */
static void lose(struct engine *e, struct connection *c, enum outcome outcome)
{
    int idle = c->request == NO_REQUEST;

    shut(c);
    if (!idle)
        finish(e, c, outcome);
    if (idle && !c->served)
        rest(e, c, CLOSED);
    else
        redial(e, c);
}

/* Writes what is left of the request; 0 when the connection turns out to be dead. */
static int push(struct engine *e, struct connection *c)
{
    struct counts *counts = e->plan.counts;
    ssize_t n;

    do
        n = send(c->fd, e->plan.head + e->plan.head_bytes - c->unsent, (size_t)c->unsent, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN;
    if (c->unsent == e->plan.head_bytes) {
        counts->on_wire++;
        counts->warmups += c->request == WARMUP;
    }
    c->unsent -= (int32_t)n;
    counts->bytes_sent += n;
    return 1;
}

static void start(struct engine *e, struct connection *c)
{
    c->state = BUSY;
    c->began = look(e);
    c->unsent = e->plan.head_bytes;
    answer_expect(&c->answer);
    move(c, &e->under_way);
    row(e, c)->sent = c->began - e->epoch;
    if (!push(e, c))
        lose(e, c, RESET);
}

static void give(struct engine *e, struct connection *c, int64_t request)
{
    c->request = request;
    row(e, c)->connection = (int32_t)(c - e->connections);
    if (c->state == FREE)
        start(e, c);
    else if (request == WARMUP)
        dial(e, c);
    else
        redial(e, c);
}

static void opened(struct engine *e, struct connection *c, uint32_t events)
{
    int error = 0;
    socklen_t size = sizeof error;

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        refuse(e, c, error);
    } else if (events & EPOLLOUT) {
        e->plan.counts->connects++;
        if (c->request >= 0 && look(e) > e->epoch + e->plan.give_up[c->request])
            finish(e, c, NOT_SENT);
        if (c->request == NO_REQUEST)
            rest(e, c, FREE);
        else
            start(e, c);
    }
}

static void complete(struct engine *e, struct connection *c)
{
    int closes = c->answer.closes;

    c->served = 1;
    finish(e, c, OK);
    if (closes) {
        shut(c);
        redial(e, c);
    } else {
        rest(e, c, FREE);
    }
}

/* Edge-triggered: reads until the kernel has no more. A short read is the last one unless the server also hung up. */
static void receive(struct engine *e, struct connection *c, uint32_t events)
{
    ssize_t n;

    do {
        n = recv(c->fd, e->answer, ANSWER_BYTES, 0);
        look(e);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (errno == EAGAIN)
                return;
            continue;
        }
        if (n <= 0) {
            lose(e, c, n == 0 && c->state == BUSY && c->answer.stage == TO_CLOSE ? OK : RESET);
            return;
        }
        e->plan.counts->bytes_received += n;
        if (c->state == BUSY) {
            if (row(e, c)->first_byte < 0)
                row(e, c)->first_byte = e->now - e->epoch;
            answer_read(&c->answer, e->answer, (size_t)n);
        }
        if (c->state == FREE || c->answer.stage == BAD || (c->answer.stage == COMPLETE && c->unsent)) {
            lose(e, c, MALFORMED); /* of a free connection: bytes nobody asked for, a 408 before hanging up */
            return;
        }
        if (c->answer.stage == COMPLETE)
            complete(e, c);
    } while (c->state >= FREE && (n < 0 || n == ANSWER_BYTES || events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
}

#endif
