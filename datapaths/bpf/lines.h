/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* From packets to lines and from lines to bodies: what requests and responses have in common.
 *
 * Functions that are not static are verified on their own, once, with arguments of any value. That is what keeps this
 * within the verifier's million instructions. They read text eight bytes at a time (both BPF and the hosts that run it
 * are little-endian here); the loads are not aligned, which the kernel allows on x86-64 and arm64.
 */
#ifndef LINES_H
#define LINES_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "stream.h"

#define ALONE __attribute__((noinline))
#define WORD(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define EACH(byte) (0x0101010101010101ULL * (byte))
#define FIRST(n) ((1ULL << (8 * (n))) - 1) /* mask of the first n bytes of a word, n < 8 */
#define LOWER EACH(0x20)

static __always_inline __u64 word(const struct half *h, __u32 at)
{
	return *(const __u64 *)(h->text + at);
}

/* The top bit of every byte of w that equals byte; exact, whatever stands beside it. */
static __always_inline __u64 equal(__u64 w, __u8 byte)
{
	w ^= EACH(byte);
	return ~(((w & EACH(0x7f)) + EACH(0x7f)) | w | EACH(0x7f));
}

/* The position (0..7) of the lowest byte marked in m, which is not 0. */
static __always_inline __u32 lowest(__u64 m)
{
	return ((((m & -m) >> 7) - 1) & EACH(1)) * EACH(1) >> 56;
}

/* The position of the next line feed at or behind the cursor; not below h->have where there is none. */
ALONE int line_feed(struct half *h)
{
	__u32 at;
	__u64 mask, found;

	if (!h)
		return FULL;
	at = h->cursor;
	mask = ~0ULL << (8 * (at & 7));
	for (at &= ~7U; at < FULL; at += 8) {
		if (at >= h->have)
			break;
		found = equal(word(h, at), '\n') & mask;
		if (found)
			return at + lowest(found);
		mask = ~0ULL;
	}
	return FULL;
}

/* Bring what was not read yet to the front of text; a line that is too long loses its middle. */
ALONE int to_front(struct half *h)
{
	__u32 i, cursor, length;

	if (!h)
		return 0;
	cursor = h->cursor;
	length = h->have - cursor;
	h->cursor = 0;
	if (cursor > FULL || length > FULL) { /* cannot be */
		h->have = 0;
		return 0;
	}
	h->have = length;
	if (cursor)
		for (i = 0; i < HELD / 8; i++) {
			if (i * 8 >= length)
				break;
			*(__u64 *)(h->text + i * 8) = word(h, cursor + i * 8);
		}
	if (length > HELD) {
		__u32 back = cursor + length - BACK;

		if (back > FULL)
			return 0;
		*(__u64 *)(h->text + FRONT) = word(h, back);
		*(__u64 *)(h->text + FRONT + 8) = word(h, back + 8);
		h->have = FRONT + BACK;
		h->squeezed = 1;
	}
	return 0;
}

/* Copy the packet's next bytes behind those that text holds. */
ALONE int load(struct __sk_buff *skb, struct half *h)
{
	__u32 have, size;

	if (!h)
		return BAD;
	if (h->phase == START && !h->began)
		h->began = h->now;
	have = h->have;
	size = h->end - h->position;
	if (size > BLOCK)
		size = BLOCK;
	asm volatile("" : "+r"(size)); /* clang would test a copy of it, and the verifier not know the original */
	if (size < 1 || size > BLOCK || have > HELD)
		return BAD;
	if (bpf_skb_load_bytes(skb, h->position, h->text + have, size))
		return BAD;
	h->position += size;
	h->have = have + size;
	return AGAIN;
}

/* Go past what is not read: as much of the body as this packet has. */
static __always_inline int skip(struct half *h)
{
	__u64 here = h->end - h->position;

	if (h->phase != TO_CLOSE && here > h->left)
		here = h->left;
	h->position += here;
	h->bytes += here;
	if (h->phase == TO_CLOSE)
		return USED_UP;
	h->left -= here;
	if (h->left)
		return USED_UP;
	if (h->phase == COUNTED)
		return BODY_END;
	h->phase = CHUNK_END;
	return AGAIN;
}

ALONE int advance(struct __sk_buff *skb, struct half *h)
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
	return h->position < h->end ? load(skb, h) : USED_UP;
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

/* A number written in this base that starts at `at`, after spaces; all ones where there is none or it is too large. */
ALONE __u64 number(struct half *h, __u32 at, __u32 base)
{
	__u64 value = 0;
	__u32 i, digits = 0;

	if (!h)
		return ~0ULL;
	for (i = 0; i < 24; i++) {
		__u32 digit, c = (__u8)h->text[(at + i) & (TEXT - 1)];

		if (!digits && (c == ' ' || c == '\t'))
			continue;
		digit = c - '0';
		if (digit > 9) {
			digit = (c | 0x20) - 'a' + 10;
			if (base != 16 || digit < 10 || digit > 15) {
				if (c == '\r' || c == '\n' || c == ' ' || c == '\t' || (base == 16 && c == ';'))
					break;
				return ~0ULL;
			}
		}
		if (++digits > 15)
			return ~0ULL;
		value = value * base + digit;
	}
	return digits && i < 24 ? value : ~0ULL;
}

/* One header field: only those that say where the body ends matter. */
ALONE int field(struct half *h)
{
	__u32 at, length;
	__u64 name;

	if (!h)
		return BAD;
	at = h->cursor;
	length = line_length(h);
	if (at > FULL)
		return BAD;
	name = word(h, at) | LOWER;
	if (name == WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-') && length > 15 &&
	    ((word(h, at + 8) | LOWER) & FIRST(7)) == WORD('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
		__u64 value = number(h, at + 15, 10);

		if (value == ~0ULL || (h->counted && h->left != value))
			return BAD;
		h->counted = 1;
		h->left = value;
	} else if (name == WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') && length > 24 &&
		   (word(h, at + 8) | LOWER) == WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
		   (h->text[at + 16] | 0x20) == 'g' && h->text[at + 17] == ':') {
		__u32 back = at + length - 8; /* only the last coding frames the body: does it end in "chunked"? */

		h->chunked = UNKNOWN_CODING;
		if (back <= FULL && (word(h, back) | LOWER) >> 8 == WORD('c', 'h', 'u', 'n', 'k', 'e', 'd', 0))
			h->chunked = CHUNKED;
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
	h->chunked = h->counted = 0;
	h->left = h->bytes = 0;
	h->began = h->cursor < h->have || h->position < h->end ? h->now : 0;
}

#endif
