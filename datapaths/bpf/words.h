/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Eight bytes at a time. What is found is the top bit of a byte, exact whatever stands beside it. */
#ifndef WORDS_H
#define WORDS_H

#include <linux/types.h>

#define WORD(a, b, c, d, e, f, g, h)                                                                                   \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define EACH(byte) (0x0101010101010101ULL * (byte))
#define FIRST(n) ((1ULL << (8 * (n))) - 1) /* mask of the first n bytes of a word, n < 8 */

/* The top bit of every byte of w that equals byte; exact, whatever stands beside it. */
static __always_inline __u64 equal(__u64 w, __u8 byte)
{
	w ^= EACH(byte);
	return ~(((w & EACH(0x7f)) + EACH(0x7f)) | w | EACH(0x7f));
}

/* Bytes of v up to 0x20, and 0x7f: their top bits. */
static __always_inline __u64 control(__u64 v)
{
	__u64 low = v & EACH(0x7f);

	return (~(low + EACH(0x5f)) | (low + EACH(1))) & ~v & EACH(0x80);
}

/* The position (0..7) of the lowest byte marked in m, which is not 0. */
static __always_inline __u32 lowest(__u64 m)
{
	return ((((m & -m) >> 7) - 1) & EACH(1)) * EACH(1) >> 56;
}

/* Bytes of v below 0x20, and 0x7f. */
static __always_inline __u64 below_space(__u64 v)
{
	__u64 low = v & EACH(0x7f);

	return (~(low + EACH(0x60)) | (low + EACH(1))) & ~v & EACH(0x80);
}

/* Bytes of v from `first` to `last`, both below 0x80. */
static __always_inline __u64 between(__u64 v, __u8 first, __u8 last)
{
	__u64 low = v & EACH(0x7f);

	return (low + EACH(0x80 - first)) & ~(low + EACH(0x7f - last)) & ~v & EACH(0x80);
}

/* Letters, digits and hyphens in v. */
static __always_inline __u64 hyphenated(__u64 v)
{
	return between(v | EACH(0x20), 'a', 'z') | between(v, '0', '9') | equal(v, '-');
}

#endif
