/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The text that was copied from packets: finding, moving and reading it eight bytes at a time.
 *
 * Functions that are not static are verified on their own, once, with arguments of any value. That is what keeps this
 * within the verifier's million instructions. BPF and the hosts that run it are little-endian here; the loads are not
 * aligned, which the kernel allows on x86-64 and arm64.
 */
#ifndef TEXT_H
#define TEXT_H

#include "packet.h"
#include "stream.h"
#include "words.h"

#define ALONE __attribute__((noinline))
#define LOWER EACH(0x20)
#define SPACES 32
#define DIGITS 16 /* one more than a number may have */

static __always_inline __u64 word(const struct half *h, __u32 at)
{
	return *(const __u64 *)(h->text + at);
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

/* Whether there are spaces or other control characters in [at, end). */
ALONE int broken(struct half *h, __u32 at, __u32 end)
{
	__u64 bad = 0;
	__u32 i;

	if (!h)
		return 0;
	for (i = 0; i < FULL / 8; i++) {
		asm volatile("" : "+r"(at));
		if (at >= end || at > FULL)
			break;
		bad |= control(word(h, at)) & (end - at < 8 ? FIRST((end - at) & 7) : ~0ULL);
		at += 8;
	}
	return bad != 0;
}

/* Bring what was not read yet to the front of text; a line that is too long loses its middle. */
ALONE int to_front(struct half *h)
{
	__u32 i, cursor, length;

	if (!h)
		return 0;
	cursor = h->cursor;
	length = h->have - cursor;
	if (h->phase == START && length > HELD && broken(h, cursor + FRONT, cursor + length - BACK))
		h->squeezed = BROKEN; /* nobody will see these bytes again */
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
		h->squeezed |= 1;
	}
	return 0;
}

/* Copy the packet's next bytes behind those that text holds. */
ALONE int load(PACKET *packet, struct half *h)
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
	if (copy_bytes(packet, h->position, h->text + have, size))
		return BAD;
	h->position += size;
	h->have = have + size;
	return AGAIN;
}

/* Behind the spaces and tabs at `at`, as far as SPACES. */
ALONE int behind_spaces(struct half *h, __u32 at)
{
	__u32 i;

	if (!h)
		return 0;
	for (i = 0; i < SPACES; i++) {
		char c = h->text[at & (TEXT - 1)];

		if (c != ' ' && c != '\t')
			break;
		at++;
	}
	return at & (TEXT - 1);
}

/* The digits at h->digits, which is then behind them; all ones where there are none or too many. */
ALONE __u64 digits(struct half *h, __u32 base)
{
	__u64 value = 0;
	__u32 i, at;

	if (!h)
		return ~0ULL;
	at = h->digits;
	for (i = 0; i < DIGITS; i++) {
		__u32 c = (__u8)h->text[(at + i) & (TEXT - 1)], digit = c - '0';

		if (digit > 9) {
			digit = (c | 0x20) - 'a' + 10;
			if (base != 16 || digit < 10 || digit > 15)
				break;
		}
		value = value * base + digit;
	}
	h->digits = at + i;
	return i && i < DIGITS ? value : ~0ULL;
}

/* The number that the rest of a line is, in this base: behind one of base 10 may be spaces, behind one of base 16 a
 * chunk's extension. All ones where it is none, or too large.
 */
static __always_inline __u64 number(struct half *h, __u32 at, __u32 base)
{
	__u64 value;
	__u32 c;

	if (base == 10 && h->text[at & (TEXT - 1)] <= ' ')
		at = behind_spaces(h, at);
	h->digits = at;
	value = digits(h, base);
	at = h->digits;
	c = h->text[at & (TEXT - 1)];
	if (c == ' ' || c == '\t') {
		at = behind_spaces(h, at);
		c = h->text[at & (TEXT - 1)];
	}
	if (c == '\r')
		c = h->text[(at + 1) & (TEXT - 1)];
	return c == '\n' || (c == ';' && base == 16) ? value : ~0ULL;
}

#endif
