/* An HTTP/1.1 answer to a GET, read as it comes, in any split of bytes. Keeps one line, never a body.
 *
 * RFC 9112: 1xx answers are stepped over; 204 and 304 have no body; otherwise Transfer-Encoding: chunked, else
 * Content-Length, else everything until the server closes.
 */
#ifndef LAB_LOAD_ANSWER_H
#define LAB_LOAD_ANSWER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_BYTES 512 /* longer header lines are cut: only three short headers are ever looked at */

enum stage { START, HEADER, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, TO_CLOSE, COMPLETE, BAD };

struct answer {
    int64_t left;   /* bytes of the body or of this chunk still to come */
    int64_t length; /* Content-Length, -1 when absent */
    uint8_t stage;
    uint8_t chunked;
    uint8_t closes; /* the server said Connection: close */
    uint8_t cut;    /* the line did not fit */
    int16_t status;
    uint16_t held;  /* bytes in line */
    char line[LINE_BYTES];
};

static inline void answer_expect(struct answer *a)
{
    memset(a, 0, offsetof(struct answer, line));
    a->length = -1;
}

static int number(const char *text, int base, int64_t *value)
{
    /* strtoll would also take signs, spaces and 0x, which RFC 9112 does not */
    size_t digits = strspn(text, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");
    const char *rest = text + digits + strspn(text + digits, " \t");

    if (!digits || digits > 15 || (*rest && !(base == 16 && *rest == ';')))
        return 0;
    *value = strtoll(text, NULL, base);
    return 1;
}

/* "HTTP/1.1 200 OK": the reason may be empty, the version may not be another one. */
static uint8_t status_line(struct answer *a)
{
    int64_t status;

    if (strncmp(a->line, "HTTP/1.1 ", 9) || strlen(a->line) < 12 || (a->line[12] && a->line[12] != ' '))
        return BAD;
    a->line[12] = '\0';
    if (!number(a->line + 9, 10, &status) || status < 100 || status == 101)
        return BAD; /* 101 would change the protocol, which nobody asked for */
    a->status = (int16_t)status;
    return HEADER;
}

static int has_token(const char *list, const char *token)
{
    size_t n = strlen(token);

    while (*list) {
        list += strspn(list, ", \t");
        size_t span = strcspn(list, ", \t");
        if (span == n && !strncasecmp(list, token, n))
            return 1;
        list += span;
    }
    return 0;
}

static uint8_t header_line(struct answer *a)
{
    char *value = strchr(a->line, ':');
    int64_t length;

    if (!value || value == a->line || strcspn(a->line, " \t") < (size_t)(value - a->line))
        return BAD; /* no name, or folded, or a space before the colon */
    *value++ = '\0';
    value += strspn(value, " \t");
    if (!strcasecmp(a->line, "connection")) {
        a->closes |= has_token(value, "close");
    } else if (!strcasecmp(a->line, "transfer-encoding")) {
        if (!has_token(value, "chunked"))
            return BAD; /* nothing else was asked for */
        a->chunked = 1;
    } else if (!strcasecmp(a->line, "content-length")) {
        if (a->cut || !number(value, 10, &length) || (a->length >= 0 && a->length != length))
            return BAD;
        a->length = length;
    }
    return HEADER;
}

static uint8_t after_headers(struct answer *a)
{
    if (a->status < 200) {
        answer_expect(a);
        return START;
    }
    if (a->status == 204 || a->status == 304)
        return COMPLETE;
    if (a->chunked)
        return CHUNK_SIZE;
    if (a->length < 0)
        return TO_CLOSE;
    a->left = a->length;
    return a->left ? BODY : COMPLETE;
}

static uint8_t line_ended(struct answer *a)
{
    while (a->held && a->line[a->held - 1] == '\r')
        a->held--;
    a->line[a->held] = '\0';
    if (strlen(a->line) != a->held)
        return BAD; /* a NUL has no place in a head */
    switch (a->stage) {
    case START: return status_line(a);
    case HEADER: return a->held ? header_line(a) : after_headers(a);
    case CHUNK_SIZE:
        if (a->cut || !number(a->line, 16, &a->left))
            return BAD;
        return a->left ? CHUNK : TRAILER;
    case CHUNK_END: return a->held ? BAD : CHUNK_SIZE;
    default: return a->held ? TRAILER : COMPLETE;
    }
}

static size_t take_line(struct answer *a, const char *data, size_t n)
{
    const char *end = memchr(data, '\n', n);
    size_t taken = end ? (size_t)(end - data) : n, room = LINE_BYTES - 1 - a->held;

    a->cut |= taken > room;
    memcpy(a->line + a->held, data, taken < room ? taken : room);
    a->held += taken < room ? taken : room;
    if (!end)
        return taken;
    a->stage = line_ended(a);
    a->held = a->cut = 0;
    return taken + 1;
}

/* Reads n more bytes. Anything after a complete answer makes it BAD: only one was asked for. */
static void answer_read(struct answer *a, const char *data, size_t n)
{
    while (n && a->stage != BAD && a->stage != TO_CLOSE) {
        size_t taken = n;

        if (a->stage == COMPLETE) {
            a->stage = BAD;
            return;
        }
        if (a->stage == BODY || a->stage == CHUNK) {
            taken = (int64_t)n < a->left ? n : (size_t)a->left;
            a->left -= (int64_t)taken;
            if (!a->left)
                a->stage = a->stage == BODY ? COMPLETE : CHUNK_END;
        } else {
            taken = take_line(a, data, n);
        }
        data += taken;
        n -= taken;
    }
}

#endif
