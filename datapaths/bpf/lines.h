/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* From packets to lines and from lines to bodies: what requests and responses have in common. */
#ifndef LINES_H
#define LINES_H

#include "text.h"

#define NAME 64 /* bytes of a field's name that are looked at (a multiple of 8) */
#define STEPS 128 /* of one verified loop of a reader */

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
	return h->position < h->end ? load(packet, h) : USED_UP;
}

/* Bytes of a body were copied with the head's last block: give them back to the packet. */
static __always_inline void unread(struct half *h)
{
	h->position -= h->have - h->cursor;
	h->cursor = h->have = 0;
}

/* The length of the line at the cursor without its end (CR LF, or LF alone). */
static __always_inline __u32 line_length(const struct half *h)
{
	__u32 stop = h->stop;

	if (stop > FULL || stop <= h->cursor)
		return 0;
	return stop - h->cursor - (h->text[(stop - 1) & (TEXT - 1)] == '\r');
}

/* Whether this line is a field: a name, and a colon right behind it (RFC 9112, 5.1). Of a long name the start is read. */
ALONE int well_named(struct half *h)
{
	__u32 i, at;

	if (!h)
		return 0;
	at = h->cursor;
	for (i = 0; i < NAME / 8; i++) {
		__u64 v, colon;

		asm volatile("" : "+r"(at)); /* clang would add the loop's steps to the pointer before the test */
		if (at > FULL)
			return 0;
		v = word(h, at);
		colon = equal(v, ':');
		if ((control(v) | (v & EACH(0x80))) & (colon ? (colon & -colon) - 1 : ~0ULL))
			return 0;
		if (colon)
			return i || lowest(colon);
		at += 8;
	}
	return 1;
}

/* Back over spaces and tabs, as far as SPACES: behind the last byte before `end` that is none; not below `at`. */
ALONE int before_spaces(struct half *h, __u32 at, __u32 end)
{
	__u32 i;

	if (!h)
		return 0;
	for (i = 0; i < SPACES; i++) {
		char c = h->text[(end - 1) & (TEXT - 1)];

		if (end <= at || (c != ' ' && c != '\t'))
			break;
		end--;
	}
	return end;
}

/* The coding that the body was given last frames it: is it chunked, alone or behind others? The value is [at, end). */
static __always_inline int is_chunked(struct half *h, __u32 at, __u32 end)
{
	end = before_spaces(h, at, end);
	if (end < at + 7 || end > FULL)
		return 0;
	if ((word(h, end - 8) | LOWER) >> 8 != WORD('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
		return 0;
	end = before_spaces(h, at, end - 7);
	if (end == at)
		return 1;
	h->odd = 1;
	return h->text[(end - 1) & (TEXT - 1)] == ',';
}

/* One header field: only those that say where the body ends matter. */
ALONE int field(struct half *h)
{
	__u32 at, length, folded;
	__u64 name;

	if (!h)
		return BAD;
	at = h->cursor;
	length = line_length(h);
	if (at > FULL)
		return BAD;
	folded = h->text[at] == ' ' || h->text[at] == '\t'; /* obsolete: the field before goes on (RFC 9112, 5.2) */
	if (folded ? h->framing : !well_named(h))
		return BAD;
	if (folded)
		return AGAIN;
	h->framing = 0;
	name = word(h, at) | LOWER;
	if (name == WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-') && length >= 15 &&
	    ((word(h, at + 8) | LOWER) & FIRST(7)) == WORD('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
		__u64 value = number(h, at + 15, 10);

		if (value == ~0ULL || (h->counted && h->left != value))
			return BAD;
		h->framing = h->counted = 1;
		h->left = value;
	} else if (name == WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') && length >= 18 &&
		   (word(h, at + 8) | LOWER) == WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		   (h->text[at + 16] | 0x20) == 'g' && h->text[at + 17] == ':') {
		if (h->chunked == CHUNKED)
			return BAD; /* nothing may come behind chunked, and it not twice (RFC 9112, 6.1) */
		h->framing = 1;
		h->chunked = is_chunked(h, at + 18, at + length) ? CHUNKED : UNKNOWN_CODING;
	}
	return AGAIN;
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
