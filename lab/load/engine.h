/* What the engine knows. The packed and the plain-C structs are mirrored by lab/load/engine.py. */
#ifndef LAB_LOAD_ENGINE_H
#define LAB_LOAD_ENGINE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"

enum outcome { OK, TIMEOUT, RESET, REFUSED, NOT_SENT, MALFORMED }; /* as lab.record.OUTCOMES */
enum state { CLOSED, OPENING, FREE, BUSY };
enum { NO_REQUEST = -1, WARMUP = -2 };
enum { EVENTS = 256, ANSWER_BYTES = 1 << 16, OPEN_AT_ONCE = 32, PAUSE_US = 100000, COME_BACK = EINTR };

struct request {
    int32_t window;
    int64_t scheduled, sent, first_byte, done; /* ns after the epoch, -1: never */
    int32_t connection;
    int16_t status;
    int8_t outcome;
} __attribute__((packed));

struct counts {
    int64_t warmups, on_wire, connects, reconnects, bytes_sent, bytes_received;
    int32_t failed, status, error; /* of the warm-up that went wrong; failed is 0 or 1 + outcome */
};

struct plan {
    const char *head; /* the whole request, sent as it is */
    int32_t head_bytes, connections;
    uint32_t address; /* network byte order */
    uint16_t port;    /* host byte order */
    uint16_t spin;
    int64_t timeout_ns, requests;
    struct request *table;
    const int64_t *give_up; /* ns after the epoch, one per request */
    struct counts *counts;
};

struct link {
    struct link *before, *after;
};

struct connection {
    struct link link; /* must be first: in exactly one of the engine's two lists */
    int64_t request, began;
    int32_t fd, unsent;
    uint32_t generation; /* an event of a file that was closed since must not be taken for the new one's */
    uint8_t state, served;
    struct answer answer;
};

struct engine {
    struct plan plan;
    struct link free;      /* FREE and CLOSED, longest waiting first */
    struct link under_way; /* OPENING and BUSY, earliest deadline first */
    int64_t epoch, now, next, last, in_flight, cold;
    int32_t poll, opened;
    struct request scratch; /* where a warm-up's row goes */
    struct epoll_event events[EVENTS];
    char answer[ANSWER_BYTES];
    struct connection connections[];
};

#endif
