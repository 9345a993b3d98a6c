/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Requests: the first line, the route it names, and the end of the head, where a request is counted. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "lines.h"
#include "maps.h"
#include "paths.h"
#include "trace.h"

static __always_inline __u32 named(__u64 first, __u32 *length)
{
#define IS(text, n, id)                                                                                                \
	if ((first & FIRST(n)) == (text)) {                                                                            \
		*length = (n) - 1;                                                                                     \
		return id;                                                                                             \
	}
	IS(WORD('G', 'E', 'T', ' ', 0, 0, 0, 0), 4, GET)
	IS(WORD('P', 'O', 'S', 'T', ' ', 0, 0, 0), 5, POST)
	IS(WORD('P', 'U', 'T', ' ', 0, 0, 0, 0), 4, PUT)
	IS(WORD('H', 'E', 'A', 'D', ' ', 0, 0, 0), 5, HEAD_METHOD)
	IS(WORD('D', 'E', 'L', 'E', 'T', 'E', ' ', 0), 7, DELETE)
	IS(WORD('P', 'A', 'T', 'C', 'H', ' ', 0, 0), 6, PATCH)
	IS(WORD('T', 'R', 'A', 'C', 'E', ' ', 0, 0), 6, TRACE)
#undef IS
	*length = 7;
	if (first == WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return OPTIONS;
	if (first == WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return CONNECT;
	return OTHER_METHOD;
}

/* The length of a method that has no number here: capitals and hyphens before the first space; 0 where it is none. */
ALONE int other_method(struct half *h)
{
	__u32 i, at;

	if (!h)
		return 0;
	at = h->cursor;
	for (i = 0; i < 24; i++) {
		char c = h->text[(at + i) & (TEXT - 1)];

		if (c == ' ')
			return i;
		if ((c < 'A' || c > 'Z') && c != '-')
			return 0;
	}
	return 0;
}

/* The line feed of a line that ends at `at`, with or without a carriage return; FULL where there is none. */
static __always_inline __u32 line_end(const struct half *h, __u32 at)
{
	at += h->text[at & (TEXT - 1)] == '\r';
	return h->text[at & (TEXT - 1)] == '\n' && at < h->have ? at : FULL;
}

/* The first line of a request, read from left to right. BAD where it is none, or not here to its end: who calls this
 * before a line feed was found asks again.
 */
ALONE int request_line(struct stream *s)
{
	__u32 at, size, end, stop;
	struct walk w = {};
	struct half *h;
	__u64 version;

	if (!s)
		return BAD;
	h = &s->request;
	at = h->cursor;
	if (at > FULL)
		return BAD;
	stop = line_end(h, at);
	if (stop < FULL) { /* an empty line before a request is let pass (RFC 9112, 2.2) */
		h->cursor = stop + 1;
		renew(h);
		return AGAIN;
	}
	h->method = named(word(h, at), &size);
	if (h->method == OTHER_METHOD)
		size = other_method(h);
	w.at = at + size + 1;
	end = scan(h, &w);
	if (!size || size > 24 || end <= w.at || end > FULL)
		return BAD;
	version = word(h, end + 1);
	stop = line_end(h, end + 9);
	if (h->text[end] != ' ' || (version & FIRST(7)) != WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) ||
	    version >> 56 < '0' || version >> 56 > '9' || stop >= FULL || h->squeezed & BROKEN)
		return BAD;
	h->version = version >> 56;
	if ((h->squeezed || end + 9 - at > HELD) && w.end > at + FRONT) { /* a line that is not kept whole */
		w.end = at + FRONT;
		w.cut = 1;
	}
	h->odd = 0;
	h->route = route_of(s, &w);
	h->cursor = stop + 1;
	h->phase = FIELDS;
	h->framing = 1; /* the first field has none before it to go on with */
	h->squeezed = 0;
	return AGAIN;
}

/* Most first lines are here to their end. USED_UP where this one is not, or is none. */
static __always_inline int first_line(struct stream *s)
{
	trace_start(&s->request);
	return request_line(s) == AGAIN ? AGAIN : USED_UP;
}

ALONE int request_head(struct stream *s)
{
	struct waiting *w;
	__u32 pushed, popped;
	struct half *h;

	if (!s)
		return BAD;
	h = &s->request;
	pushed = s->pushed;
	popped = *(volatile __u32 *)&s->popped;
	if (h->chunked == UNKNOWN_CODING)
		return BAD; /* where it ends cannot be known (RFC 9112, 6.3) */
	if (h->chunked && (h->counted || h->version == '0'))
		h->odd = 1;
	count(REQUESTS, 1);
	if (s->deaf || pushed - popped >= DEPTH) {
		s->deaf = 1;
		count(UNTOLD, 1);
		count(UNANSWERED, 1);
	} else {
		if (pushed == popped)
			s->base = pushed; /* nobody else reads it while nothing waits */
		w = &s->waiting[(pushed - s->base) & (DEPTH - 1)];
		w->began = h->began;
		w->route = h->route;
		w->method = h->method;
		trace_head(h, w);
		__sync_fetch_and_add(&s->pushed, 1); /* after its contents, on every processor */
	}
	return body(h);
}

/* The answer has come that made the connection something else: what is left and all that comes is not HTTP. */
static __always_inline void leave_http(struct half *h)
{
	h->bytes = h->have - h->cursor;
	h->cursor = h->have = 0;
	h->phase = TUNNEL;
}

ALONE int read_request(PACKET *packet, struct stream *s)
{
	struct half *h;
	int i, event;

	if (!s)
		return BAD;
	h = &s->request;
	for (i = 0; i < STEPS; i++) {
		event = USED_UP;
		if (h->phase == FIELDS)
			event = next_fields(h);
		else if (h->phase == START && h->cursor < h->have)
			event = first_line(s);
		if (event == USED_UP)
			event = advance(packet, h);
		if (event == LINE) {
			trace_line(h);
			event = h->phase == START ? request_line(s) : later_line(h);
		}
		if (event == HEAD)
			event = request_head(s);
		if (event == BODY_END) {
			renew(h);
			event = AGAIN;
		}
		if (event != AGAIN)
			return event;
	}
	return AGAIN;
}

#endif
