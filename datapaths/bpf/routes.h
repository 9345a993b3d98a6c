/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Which configured pattern a path matches.
 *
 * The patterns are one automaton over segments, made by routes.py: from each state there is one edge for each literal
 * segment that can follow, one for an empty segment and one for any other. So a path is read once, from left to right,
 * with at most one lookup a segment and no way back, however many patterns there are. A literal is found by its hash and
 * then compared byte by byte: two texts with one hash are not taken for each other.
 *
 * A line longer than HELD is not kept whole. Its path is matched only as far as it is known to be the same however the
 * line was cut into packets: the first FRONT bytes of the line.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "maps.h"
#include "text.h"

#define SEGMENTS 32 /* of a path; a longer one matches what ends in ** before, or nothing */
#define MIX 0x9e3779b97f4a7c15ULL

/* A part of text that is being read. */
struct walk {
	__u64 hash; /* of the segment that was read last */
	__u32 at, end; /* the target; then the part of the path that is still to be read */
	__u32 state;
	__u32 cut; /* the path goes on behind end */
};

/* Where the target at w->at ends: its first space or control character. Its path is then at [w->at, w->end). */
ALONE int scan(struct half *h, struct walk *w)
{
	__u32 i, at;

	if (!h || !w)
		return FULL + 1;
	at = w->at;
	for (i = 0; i < FULL / 8; i++) {
		__u64 v, stop, query;

		asm volatile("" : "+r"(at));
		if (at >= h->have || at > FULL)
			break;
		v = word(h, at);
		stop = control(v);
		query = equal(v, '?');
		query &= (stop - 1) & ~stop; /* not behind where it ends */
		if (query && !w->end)
			w->end = at + lowest(query);
		if (stop) {
			at += lowest(stop);
			if (!w->end)
				w->end = at;
			return at;
		}
		at += 8;
	}
	return FULL + 1;
}

/* The end of the segment at w->at, and its hash. */
ALONE int segment_end(struct half *h, struct walk *w)
{
	__u32 i, at, end;
	__u64 hash = 0;

	if (!h || !w)
		return FULL;
	at = w->at;
	end = w->end;
	for (i = 0; i < FULL / 8; i++) {
		__u64 v, found;

		if (at > end || at > FULL)
			return FULL;
		v = word(h, at);
		found = equal(v, '/');
		if (end - at < 8)
			found |= 0x80ULL << (8 * ((end - at) & 7));
		if (found)
			v &= FIRST(lowest(found) & 7);
		hash = (hash ^ v) * MIX;
		hash ^= hash >> 29;
		if (found) {
			w->hash = hash;
			return at + lowest(found);
		}
		at += 8;
	}
	return FULL;
}

/* Whether the segment at `at` is this literal. */
static __always_inline int same(struct half *h, __u32 at, const struct route_edge *edge, __u32 length)
{
	const __u64 *text = (const __u64 *)edge->text;
	__u32 i;

#pragma unroll
	for (i = 0; i < SEGMENT / 8; i++) {
		if (i * 8 >= length)
			break;
		if (at + i * 8 > FULL)
			return 0;
		if ((word(h, at + i * 8) ^ text[i]) & (length - i * 8 < 8 ? FIRST((length - i * 8) & 7) : ~0ULL))
			return 0;
	}
	return 1;
}

/* One segment further; 0 where the path ends with it or nothing can match any more. */
ALONE int follow(struct half *h, struct walk *w)
{
	struct route_point from = {};
	struct route_state *state;
	struct route_edge *edge;
	__u32 stop, at, length, next;

	if (!h || !w)
		return 0;
	state = bpf_map_lookup_elem(&route_states, &w->state);
	if (!state || state->settled)
		return 0;
	stop = segment_end(h, w);
	at = w->at;
	if (stop > FULL || stop < at) {
		w->state = NOWHERE;
		return 0;
	}
	length = stop - at;
	next = length ? state->any : state->empty;
	if (stop >= w->end && w->cut) { /* it may go on, or be empty, or a literal */
		w->state = next;
		if ((state->literals && length <= SEGMENT) || (!length && next != state->any))
			w->state = NOWHERE;
		return 0;
	}
	if (length && length <= SEGMENT && state->literals) {
		from.hash = w->hash;
		from.state = w->state;
		from.length = length;
		edge = bpf_map_lookup_elem(&route_edges, &from);
		if (edge && same(h, at, edge, length))
			next = edge->next;
	}
	w->state = next;
	w->at = stop + 1;
	return next && stop < w->end;
}

/* The number of the pattern that matches the path best, 0 where none does. */
ALONE int matching(struct half *h, struct walk *w)
{
	struct route_state *state;
	__u32 i, more = 1;

	if (!h || !w)
		return 0;
	if (w->at >= w->end || w->at > FULL || h->text[w->at] != '/')
		return 0;
	w->at += 1;
	w->state = BEGINNING;
	for (i = 0; i < SEGMENTS && more; i++)
		more = follow(h, w);
	state = bpf_map_lookup_elem(&route_states, &w->state);
	if (!state || ((more || w->cut) && !state->settled) || !state->number)
		return 0;
	return state->number;
}

#endif
