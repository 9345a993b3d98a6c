/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Requests: the first line, the route it names, and the end of the head, where a request is counted. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "lines.h"
#include "maps.h"
#include "routes.h"
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

/* Fill in the path that was found. */
static __always_inline void path(const struct half *h, const struct walk *w, struct route *route)
{
	__u64 *to = (__u64 *)route->path;
	__u32 i, at = w->at, length = w->end - at;

	route->cut = length > PATH;
#pragma unroll
	for (i = 0; i < PATH / 8; i++) {
		__u64 v = 0;

		if (i * 8 < length && at + i * 8 <= FULL) {
			v = word(h, at + i * 8);
			if (length - i * 8 < 8)
				v &= FIRST((length - i * 8) & 7);
		}
		to[i] = v;
	}
}

/* The number of a raw path; a new one gets the next, and when there are none left the number of its method alone. */
static __always_inline __u32 numbered(const struct route *route)
{
	__u32 number, *known = bpf_map_lookup_elem(&routes, route);

	if (known)
		return *known;
	if (routes_given >= options.most_routes + FEW)
		return route->method;
	number = __sync_fetch_and_add(&routes_given, 1);
	if (number >= options.most_routes + FEW)
		return route->method;
	if (!bpf_map_update_elem(&routes, route, &number, BPF_NOEXIST))
		return number;
	known = bpf_map_lookup_elem(&routes, route); /* another processor was faster, or there is no room */
	return known ? *known : route->method;
}

/* The target of a request: its path, and the number of its route. */
ALONE int target(struct half *h, struct walk *w)
{
	struct route route;
	__u32 number, known;

	if (!h || !w || w->at > FULL || w->end > FULL)
		return BAD;
	h->odd = 0;
	known = w->cut; /* where a line ends that is not kept whole; 0: it is */
	w->cut = 0;
	if (scan(h, w) == BAD)
		return BAD;
	if (known && w->end > known) {
		w->end = known;
		w->cut = 1;
	}
	if (options.patterns) {
		number = matching(h, w);
		h->route = number ? number : h->method;
		return AGAIN;
	}
	path(h, w, &route);
	route.method = h->method;
	h->route = numbered(&route);
	return AGAIN;
}

ALONE int request_line(struct half *h)
{
	struct walk w = {};
	__u32 length, at, size, end;
	__u64 version;

	if (!h)
		return BAD;
	length = line_length(h);
	at = h->cursor;
	h->cursor = h->stop + 1;
	if (!length) { /* an empty line before a request is let pass (RFC 9112, 2.2) */
		renew(h);
		return AGAIN;
	}
	end = at + length - 9;
	if (at > FULL || length < 14 || end > FULL)
		return BAD;
	version = word(h, end + 1);
	if (h->text[end] != ' ' || (version & FIRST(7)) != WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) ||
	    version >> 56 < '0' || version >> 56 > '9')
		return BAD;
	h->version = version >> 56;
	h->method = named(word(h, at), &size);
	if (h->method == OTHER_METHOD) {
		h->cursor = at;
		size = other_method(h);
		h->cursor = h->stop + 1;
		if (!size || size > 24)
			return BAD;
	}
	w.at = at + size + 1;
	w.end = end;
	w.cut = h->squeezed || length > HELD ? at + FRONT : 0;
	if (w.at >= end || h->squeezed & BROKEN || target(h, &w) == BAD)
		return BAD;
	h->phase = FIELDS;
	h->framing = 1; /* the first field has none before it to go on with */
	h->squeezed = 0;
	return AGAIN;
}

static __always_inline int request_head(struct stream *s)
{
	struct half *h = &s->request;
	__u32 pushed = s->pushed;
	struct waiting *w = &s->waiting[pushed & (DEPTH - 1)];

	if (h->chunked == UNKNOWN_CODING)
		return BAD; /* where it ends cannot be known (RFC 9112, 6.3) */
	if (h->chunked && (h->counted || h->version == '0'))
		h->odd = 1;
	count(REQUESTS, 1);
	if (s->deaf || pushed - *(volatile __u32 *)&s->popped >= DEPTH) {
		s->deaf = 1;
		count(UNTOLD, 1);
		count(UNANSWERED, 1);
	} else {
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
		event = advance(packet, h);
		if (event == LINE) {
			trace_line(h);
			event = h->phase == START ? request_line(h) : later_line(h);
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
