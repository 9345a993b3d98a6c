/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Answers: the status, where the body ends, and the count for the request that has waited longest. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "lines.h"
#include "maps.h"
#include "trace.h"

ALONE int status_line(struct half *h)
{
	__u32 at, length, i, status = 0;
	__u64 version;

	if (!h)
		return BAD;
	length = line_length(h);
	at = h->cursor;
	h->cursor = h->stop + 1;
	if (at > FULL || length < 12)
		return length ? BAD : AGAIN;
	version = word(h, at);
	if ((version & FIRST(7)) != WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) || version >> 56 < '0' ||
	    version >> 56 > '9' || h->text[at + 8] != ' ' || (length > 12 && h->text[at + 12] != ' '))
		return BAD;
	for (i = 9; i < 12; i++) {
		__u32 digit = (__u8)h->text[at + i] - '0';

		if (digit > 9)
			return BAD;
		status = status * 10 + digit;
	}
	h->status = status;
	h->phase = FIELDS;
	h->framing = 1;
	h->squeezed = 0;
	return AGAIN;
}

/* The slot of a key. Where there is none left, that of NOBODY. */
ALONE __u32 slot_of(const struct key *key)
{
	__u32 slot, *known;

	if (!key)
		return 0;
	known = bpf_map_lookup_elem(&slots, key);
	if (known)
		return *known;
	if (slots_given < options.most_slots) {
		slot = __sync_fetch_and_add(&slots_given, 1);
		if (slot < options.most_slots) {
			if (!bpf_map_update_elem(&slots, key, &slot, BPF_NOEXIST))
				return slot;
			known = bpf_map_lookup_elem(&slots, key); /* another processor was faster */
			if (known)
				return *known;
		}
	}
	return key->status / 100;
}

/* Where the answer to this request is counted; often where the one before it was. */
static __always_inline struct metric *metric_of(struct stream *s, const struct waiting *w)
{
	struct key key = { s->source, s->destination, w->route, s->response.status, w->method };
	__u32 slot;

	if (!s->slot || s->route != key.route || s->status != key.status || s->method != key.method) {
		s->slot = slot_of(&key) + 1;
		s->route = key.route;
		s->status = key.status;
		s->method = key.method;
	}
	slot = s->slot - 1;
	return bpf_map_lookup_elem(&metrics, &slot);
}

/* What the connection became after its last answer, which was the last to be counted, has sent so much. */
static __always_inline void tunnelled(struct stream *s, struct half *h)
{
	__u32 slot = s->slot - 1;
	struct metric *m = bpf_map_lookup_elem(&metrics, &slot);

	if (m)
		__sync_fetch_and_add(&m->upgraded_bytes, h->bytes);
	count(UPGRADED_BYTES, h->bytes);
	h->bytes = 0;
}

/* An answer is complete: count it for the request that has waited longest. */
ALONE int record(struct stream *s)
{
	struct metric *m;
	struct waiting *w;
	__u64 ns;

	if (!s)
		return 0;
	w = longest_waiting(s);
	ns = bpf_ktime_get_ns() - w->began;
	m = metric_of(s, w);
	if (s->slot <= CLASSES)
		count(NO_ROOM, 1);
	if (m) {
		__u32 i = bucket(ns);

		__sync_fetch_and_add(&m->count, 1);
		__sync_fetch_and_add(&m->bytes, s->response.bytes);
		__sync_fetch_and_add(&m->duration_ns, ns);
		if (i < BUCKETS)
			__sync_fetch_and_add(&m->buckets[i], 1);
	}
	trace_answer(s, w->began + ns);
	count(ANSWERED, 1);
	__sync_fetch_and_add(&s->popped, 1);
	return 0;
}

static __always_inline int upgrade(struct stream *s, struct half *h)
{
	record(s);
	count(UPGRADED, 1);
	h->phase = TUNNEL;
	h->bytes = 0;
	unread(h);
	*(volatile __u8 *)&s->tunnel = 1;
	return AGAIN;
}

static __always_inline int response_head(struct stream *s)
{
	struct half *h = &s->response;
	__u32 method, status = h->status;

	if (status < 200 && status != 101) {
		renew(h);
		return AGAIN;
	}
	if (s->popped == *(volatile __u32 *)&s->pushed && s->deaf) {
		h->phase = IGNORED;
		unread(h);
		return AGAIN;
	}
	if (s->popped == *(volatile __u32 *)&s->pushed)
		return BAD; /* an answer that nothing asked for, or to a request whose head was refused halfway */
	method = longest_waiting(s)->method;
	if (status == 101 || (method == CONNECT && status < 300))
		return upgrade(s, h);
	if (method == HEAD_METHOD || status == 204 || status == 304)
		return BODY_END;
	if (h->chunked == CHUNKED || (h->counted && !h->chunked))
		return body(h);
	h->phase = TO_CLOSE;
	unread(h);
	return AGAIN;
}

ALONE int read_response(PACKET *packet, struct stream *s)
{
	struct half *h;
	int i, event;

	if (!s)
		return BAD;
	h = &s->response;
	for (i = 0; i < STEPS; i++) {
		event = h->phase == FIELDS ? next_fields(h) : USED_UP;
		if (event == USED_UP)
			event = advance(packet, h);
		if (event == LINE)
			event = h->phase == START ? status_line(h) : later_line(h);
		if (event == HEAD)
			event = response_head(s);
		if (event == BODY_END) {
			record(s);
			renew(h);
			event = AGAIN;
		}
		if (event != AGAIN)
			return event;
	}
	return AGAIN;
}

#endif
