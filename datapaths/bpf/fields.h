/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Header fields: that they are some, and what they say of where the body ends. Nothing else in them is looked at. */
#ifndef FIELDS_H
#define FIELDS_H

#include "text.h"

#define NAME 64 /* bytes of a field's name that are looked at (a multiple of 8) */
#define STEPS 128 /* of one verified loop of a reader */

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
		if ((control(v) | (v & EACH(0x80))) & (colon - 1) & ~colon)
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

/* A field that may say where the body ends. The line is [cursor, stop]. */
ALONE int framing_field(struct half *h)
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

/* One header field: only those that say where the body ends matter. */
static __always_inline int field(struct half *h)
{
	__u32 at = h->cursor, folded;

	if (at > FULL)
		return BAD;
	folded = h->text[at] == ' ' || h->text[at] == '\t'; /* obsolete: the field before goes on (RFC 9112, 5.2) */
	if (folded)
		return h->framing ? BAD : AGAIN;
	h->framing = 0;
	return well_named(h) ? framing_field(h) : BAD;
}

/* Whether the field at `at` may be one that frames the body. */
static __always_inline int may_frame(const struct half *h, __u32 at)
{
	__u64 first = word(h, at) | LOWER;

	if (first == WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-'))
		return (h->text[at + 8] | 0x20) == 'l';
	return first == WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r');
}

static __always_inline int may_trace(const struct half *h, __u32 at)
{
#ifdef TRACED
	return (word(h, at) | LOWER) == WORD('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r');
#else
	return 0;
#endif
}

/* The field at the cursor in one pass over its line. USED_UP where it is not here to its end, or is out of the ordinary:
 * `later_line` reads it then.
 */
ALONE int next_field(struct half *h)
{
	__u64 v, found = 0;
	__u32 i, at;

	if (!h)
		return BAD;
	at = h->cursor;
	for (i = 0; i < NAME / 8; i++) {
		asm volatile("" : "+r"(at));
		if (at > FULL)
			return USED_UP;
		v = word(h, at);
		found = equal(v, ':');
		if ((control(v) | (v & EACH(0x80))) & (found - 1) & ~found)
			return USED_UP;
		if (found)
			break;
		at += 8;
	}
	if (!found || (!i && (found & 0x80)))
		return USED_UP;
	for (i = 0; i < FULL / 8; i++) {
		asm volatile("" : "+r"(at));
		if (at >= h->have || at > FULL)
			return USED_UP;
		found = equal(word(h, at), '\n');
		if (found)
			break;
		at += 8;
	}
	at += lowest(found);
	if (!found || at >= h->have)
		return USED_UP;
	h->stop = at;
	at = h->cursor;
	if (at > FULL || may_trace(h, at))
		return USED_UP;
	h->framing = h->squeezed = 0;
	if (may_frame(h, at) && framing_field(h) == BAD)
		return BAD;
	h->cursor = h->stop + 1;
	return AGAIN;
}

/* All fields that are here. HEAD where the head has ended. */
ALONE int next_fields(struct half *h)
{
	int i, event = AGAIN;
	__u32 at;

	if (!h)
		return BAD;
	for (i = 0; i < STEPS && event == AGAIN; i++)
		event = next_field(h);
	at = h->cursor;
	if (event == BAD || at > FULL || at + 2 > h->have ||
	    (word(h, at) & 0xffff) != WORD('\r', '\n', 0, 0, 0, 0, 0, 0))
		return event;
	h->cursor = at + 2;
	h->squeezed = 0;
	return HEAD;
}

#endif
