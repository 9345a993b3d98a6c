/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Spans: the trace context that a request brings, who is sampled, and the record that goes to the agent at the end.
 *
 * Compiled in by -DTRACED; without it every function here is empty and the structures of a connection do not grow.
 *
 * Sampling looks at the last seven bytes of the trace-id, a number R: it is kept where R is not below a threshold, as in
 * OpenTelemetry's consistent probability sampling, so all nodes decide alike. A request whose context has the sampled
 * flag is held against `callers`, one without the flag is not recorded, and one without a valid context gets a random
 * trace-id, which is held against `roots`. A head with two traceparent fields has no valid context (W3C, 3.2).
 *
 * Records wake nobody (BPF_RB_NO_WAKEUP): the agent comes by. One that finds no room is counted, so that
 * SPANS_SAMPLED = records in the ring or read from it + SPANS_DROPPED.
 */
#ifndef TRACE_H
#define TRACE_H

#include "maps.h"
#include "text.h"

#ifdef TRACED

#define CONTEXT_SIZE 55 /* of version 00: 00-<32>-<16>-<2> */
#define BLANKS 16 /* let pass before and behind it: a line that loses its middle (HELD) is too long in any case */

/* Set by the agent before loading: thresholds for R, below 2^56; 2^56 is never reached. */
const volatile struct {
	__u64 roots, callers;
} sampling SEC(".rodata.sampling") = { 1ULL << 56, 0 };

enum span_total {
	SPANS_SAMPLED, /* requests that ended and were to be recorded */
	SPANS_DROPPED, /* of these, those for which the ring had no room */
	CONTEXTS_REFUSED, /* requests with a traceparent that is malformed, or with several */
	SPAN_TOTALS,
};

/* As datapaths/bpf/spans.py reads it. */
struct span {
	__u64 start, end; /* CLOCK_MONOTONIC, ns */
	__u64 bytes; /* of the answer's body */
	__u32 trace[4], parent[2], id[2];
	__u32 source, destination, route;
	__u16 status; /* 0: the connection was closed before there was a whole answer */
	__u8 method, flags;
	__u8 minor;
	__u8 called; /* trace and parent are the caller's */
	__u8 spare[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} spans SEC(".maps");

COUNTERS(span_totals, SPAN_TOTALS, count_span)

#define NO_HEX (~0ULL)

/* Eight lower-case hexadecimal digits as four bytes in their order; NO_HEX where one is none. */
static __always_inline __u64 hex(__u64 w)
{
	__u64 letter = (w >> 6) & EACH(1), value = (w & EACH(0xf)) + letter * 9;
	__u64 over_nine = ((value + EACH(6)) >> 4) & EACH(1);

	if ((value & EACH(0xf0)) || value + EACH('0') + over_nine * ('a' - 10 - '0') != w)
		return NO_HEX;
	value = (value << 4 | value >> 8) & 0x00ff00ff00ff00ffULL;
	value = (value | value >> 8) & 0x0000ffff0000ffffULL;
	return (value | value >> 16) & 0xffffffffULL;
}

static __always_inline int blank(const struct half *h, __u32 at)
{
	char c = h->text[at & (TEXT - 1)];

	return c == ' ' || c == '\t';
}

/* The context that stands at [at, end); its first 56 bytes are there even where the line's middle was dropped. */
static __always_inline int well_formed(struct half *h, __u32 at, __u32 end)
{
	__u64 both, word0, word1, word2, word3, word4, word5;
	__u32 length = end - at;
	__u8 version;

	if (end < at || length < CONTEXT_SIZE || at > FULL)
		return 0;
	both = hex((word(h, at) & 0xffff) | (word(h, at + 53) & 0xffff) << 16 | WORD(0, 0, 0, 0, '0', '0', '0', '0'));
	if (both == NO_HEX || h->text[at + 2] != '-' || h->text[at + 35] != '-' || h->text[at + 52] != '-')
		return 0;
	version = both;
	if (version == 0xff || (!version && length != CONTEXT_SIZE) ||
	    (length > CONTEXT_SIZE && h->text[at + CONTEXT_SIZE] != '-'))
		return 0;
	word0 = hex(word(h, at + 3));
	word1 = hex(word(h, at + 11));
	word2 = hex(word(h, at + 19));
	word3 = hex(word(h, at + 27));
	word4 = hex(word(h, at + 36));
	word5 = hex(word(h, at + 44));
	if (word0 == NO_HEX || word1 == NO_HEX || word2 == NO_HEX || word3 == NO_HEX || word4 == NO_HEX || word5 == NO_HEX)
		return 0;
	h->context.trace[0] = word0;
	h->context.trace[1] = word1;
	h->context.trace[2] = word2;
	h->context.trace[3] = word3;
	h->context.parent[0] = word4;
	h->context.parent[1] = word5;
	h->context.flags = both >> 8;
	return (word0 | word1 | word2 | word3) && (word4 | word5);
}

/* A traceparent field stands at the cursor. */
ALONE int read_context(struct half *h)
{
	__u32 i, at, end, length;

	if (!h)
		return 0;
	h->context.valid = 0;
	if (h->context.fields) {
		h->context.fields = 2;
		return 0;
	}
	h->context.fields = 1;
	length = line_length(h);
	at = h->cursor + 12;
	end = h->cursor + length;
	for (i = 0; i < BLANKS && blank(h, at); i++)
		at++;
	for (i = 0; i < BLANKS && blank(h, end - 1); i++)
		end--;
	h->context.valid = well_formed(h, at, end);
	return 0;
}

/* A request begins: nothing is known of its context yet. */
static __always_inline void trace_start(struct half *h)
{
	h->context.fields = h->context.valid = h->context.recorded = 0;
}

/* Before a later line of a request is read. */
ALONE int trace_line(struct half *h)
{
	__u32 at;

	if (!h)
		return 0;
	at = h->cursor;
	if (h->phase == FIELDS && at <= FULL &&
	    (word(h, at) | LOWER) == WORD('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r') &&
	    ((word(h, at + 8) | 0x202020) & FIRST(4)) == WORD('e', 'n', 't', ':', 0, 0, 0, 0))
		read_context(h);
	return 0;
}

static __always_inline int kept(const struct context *c, __u64 threshold)
{
	__u64 last = (__u64)c->trace[3] << 32 | c->trace[2];

	return (bpf_be64_to_cpu(last) & FIRST(7)) >= threshold;
}

static __always_inline __u32 not_zero(__u32 random)
{
	return random ? random : 1;
}

/* The head was read to its end: is the request to be recorded? */
ALONE int decide(struct half *h)
{
	struct context *c;

	if (!h)
		return 0;
	c = &h->context;
	c->minor = h->version;
	if (c->valid)
		return c->recorded = (c->flags & 1) && kept(c, sampling.callers);
	if (c->fields)
		count_span(CONTEXTS_REFUSED, 1);
	c->trace[2] = bpf_get_prandom_u32();
	c->trace[3] = bpf_get_prandom_u32();
	if (!kept(c, sampling.roots))
		return 0;
	c->trace[0] = not_zero(bpf_get_prandom_u32());
	c->trace[1] = bpf_get_prandom_u32();
	c->parent[0] = c->parent[1] = 0;
	c->flags = 1;
	c->recorded = 1;
	return 1;
}

static __always_inline void trace_head(struct half *h, struct waiting *w)
{
	w->context.recorded = 0;
	if (decide(h))
		w->context = h->context;
}

/* The request that has waited longest ends: with this status, or with none. */
ALONE int span_ends(struct stream *s, __u64 end, __u32 status)
{
	struct waiting *w;
	struct span *e;

	if (!s)
		return 0;
	w = longest_waiting(s);
	if (!w->context.recorded)
		return 0;
	count_span(SPANS_SAMPLED, 1);
	e = bpf_ringbuf_reserve(&spans, sizeof(*e), 0);
	if (!e) {
		count_span(SPANS_DROPPED, 1);
		return 0;
	}
	__builtin_memset(e->spare, 0, sizeof(e->spare));
	e->start = w->began;
	e->end = end;
	e->bytes = s->response.bytes;
	__builtin_memcpy(e->trace, w->context.trace, sizeof(e->trace));
	__builtin_memcpy(e->parent, w->context.parent, sizeof(e->parent));
	e->id[0] = not_zero(bpf_get_prandom_u32());
	e->id[1] = bpf_get_prandom_u32();
	e->source = s->source;
	e->destination = s->destination;
	e->route = w->route;
	e->status = status;
	e->method = w->method;
	e->flags = w->context.flags;
	e->minor = w->context.minor;
	e->called = w->context.valid;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The connection is closed, and these have no answer. Where it was given up, answers may have passed unread: no spans. */
ALONE int trace_unanswered(struct stream *s)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 i;

	if (!s || s->opaque)
		return 0;
	for (i = 0; i < DEPTH && s->popped != s->pushed; i++) {
		span_ends(s, now, 0);
		s->popped++;
		count(UNANSWERED, 1);
	}
	return 0;
}

static __always_inline void trace_answer(struct stream *s, __u64 end)
{
	span_ends(s, end, s->response.status);
}

#else

static __always_inline void trace_start(struct half *h)
{
}

static __always_inline void trace_line(struct half *h)
{
}

static __always_inline void trace_head(struct half *h, struct waiting *w)
{
}

static __always_inline void trace_unanswered(struct stream *s)
{
}

static __always_inline void trace_answer(struct stream *s, __u64 end)
{
}
#endif

#endif
