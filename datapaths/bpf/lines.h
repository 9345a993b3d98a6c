/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* From packets to lines and from lines to bodies: what requests and responses have in common. */
#ifndef LINES_H
#define LINES_H

#include "fields.h"

/* Go past what is not read: as much of the body as this packet has. */
static __always_inline int skip(struct half *h)
{
	__u64 here = h->end - h->position;

	if (h->phase < TO_CLOSE && here > h->left)
		here = h->left;
	h->position += here;
	h->bytes += here;
	if (h->phase >= TO_CLOSE)
		return USED_UP;
	h->left -= here;
	if (h->left)
		return USED_UP;
	if (h->phase == COUNTED)
		return BODY_END;
	h->phase = CHUNK_END;
	return AGAIN;
}

ALONE int advance(PACKET *packet, struct half *h)
{
	if (!h)
		return BAD;
	if (h->phase >= COUNTED)
		return skip(h);
	if (h->cursor < h->have) {
		h->stop = line_feed(h);
		if (h->stop < h->have)
			return LINE;
		to_front(h);
	} else {
		h->cursor = h->have = 0;
	}
	if (h->position >= h->end)
		return USED_UP;
	return load(packet, h);
}

/* Bytes of a body were copied with the head's last block: give them back to the packet. */
static __always_inline void unread(struct half *h)
{
	h->position -= h->have - h->cursor;
	h->cursor = h->have = 0;
}

/* The line between chunks that says how long the next one is. */
static __always_inline int chunk_size(struct half *h)
{
	__u64 size = number(h, h->cursor, 16);

	if (size == ~0ULL)
		return BAD;
	h->left = size;
	h->phase = size ? CHUNK : TRAILER;
	return AGAIN;
}

/* Any line but the first of a message. */
ALONE int later_line(struct half *h)
{
	int event = AGAIN;
	__u32 length;

	if (!h)
		return BAD;
	length = line_length(h);
	switch (h->phase) {
	case FIELDS:
		event = length ? field(h) : HEAD;
		break;
	case SIZE:
		event = chunk_size(h);
		break;
	case CHUNK_END:
		event = length ? BAD : AGAIN;
		h->phase = SIZE;
		break;
	case TRAILER:
		event = length ? AGAIN : BODY_END;
		break;
	default:
		event = BAD;
	}
	h->cursor = h->stop + 1;
	h->squeezed = 0;
	if (h->phase == CHUNK)
		unread(h);
	return event;
}

/* What follows the head: a body that is framed, or none. */
static __always_inline int body(struct half *h)
{
	if (h->chunked == CHUNKED) {
		h->phase = SIZE;
		return AGAIN;
	}
	if (!h->counted || !h->left)
		return BODY_END;
	h->phase = COUNTED;
	unread(h);
	return AGAIN;
}

/* Ready for the next message; its first bytes may be here already. */
static __always_inline void renew(struct half *h)
{
	h->phase = START;
	h->chunked = h->counted = h->framing = 0;
	h->left = h->bytes = 0;
	h->began = h->cursor < h->have || h->position < h->end ? h->now : 0;
}

#endif
