/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Bytes of a connection through the automaton, and what its actions mean.
 *
 * Nothing of a head is kept but the state, so it does not matter how it is cut into packets. A byte for which there is no
 * next state refuses the request: what was not thought of is denied.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "policy.h"
#include "words.h"

#define STEPS 16 /* of one verified loop of a reader */

static __always_inline int refuse(struct judge *j, __u32 why)
{
	j->reason = why;
	return REFUSE;
}

/* How many of the next bytes leave the automaton where it is, of eight at most. */
static __always_inline __u32 lingering(const struct judge *j, __u32 at, __u32 how)
{
	__u64 v = *(const __u64 *)(j->text + at), ends;

	ends = how == IN_NAME ? ~hyphenated(v) & EACH(0x80) : below_space(v);
	return ends ? lowest(ends) : 8;
}

/* Walk until something is to be done or the block ends. */
ALONE int walk(struct judge *j)
{
	__u32 i, state, at, have, begun;
	struct row *row;

	if (!j)
		return REFUSE;
	state = j->state;
	at = begun = j->at;
	have = j->have;
	j->action = NOTHING;
	row = bpf_map_lookup_elem(&rows, &state);
	if (!row)
		return refuse(j, MALFORMED);
	for (i = 0; i < BLOCK; i++) {
		__u32 c;

		if (row->lingers && at <= BLOCK - 8) {
			*(volatile __u32 *)&j->at = at + lingering(j, at, row->lingers); /* the verifier is to forget it */
			at = *(volatile __u32 *)&j->at;
		}
		if (at >= have) {
			at = have;
			break;
		}
		c = (__u8)j->text[at & (BLOCK - 1)];
		at++;
		asm volatile("" : "+r"(c)); /* clang would test the sign, and the verifier not know the bound */
		if (c > 128)
			c = 128;
		state = row->next[c];
		if (state < REASONS)
			return refuse(j, state);
		row = bpf_map_lookup_elem(&rows, &state);
		if (!row)
			return refuse(j, MALFORMED);
		if (row->action || (row->hopeless && j->strict)) {
			j->action = row->action;
			if (row->hopeless && j->strict)
				return refuse(j, RULE);
			break;
		}
	}
	j->length += at - begun;
	j->at = at;
	j->state = state;
	if (j->length > (j->flags & LINE_READ ? LONGEST_HEAD : LONGEST_LINE))
		return refuse(j, TOO_LONG);
	return BLOCK_END;
}

static __always_inline __u32 last_byte(const struct judge *j)
{
	return (__u8)j->text[(j->at - 1) & (BLOCK - 1)];
}

/* The next message begins. */
static __always_inline void renew(struct judge *j)
{
	j->state = BETWEEN;
	j->flags &= READING_ANSWERS;
	j->number = j->skip = 0;
	j->digits = 0;
	j->length = 0;
	j->status = 0;
}

static __always_inline int begin(struct judge *j)
{
	__u32 now = current();

	if (j->flags & READING_ANSWERS) {
		const struct settings *set = rules_now(now);

		j->state = set ? set->answers : 0;
		return MORE;
	}
	j->generation = now;
	j->state = start(j->source, j->destination, now & 1);
	return j->state ? MORE : refuse(j, RULE); /* the destination has come out of policy: its connections are to be new */
}

/* What a body is framed by is known: read or skip it. */
static __always_inline int body(struct judge *j)
{
	j->length = 0;
	if (j->flags & CHUNKED) {
		j->state = SIZE_START;
		j->flags |= IN_CHUNKS;
		j->digits = j->number = 0;
		return HEAD_READ;
	}
	j->skip = j->flags & COUNTED ? j->number : 0;
	j->state = BETWEEN;
	return HEAD_READ;
}

static __always_inline int chunk(struct judge *j)
{
	j->length = 0;
	if (!j->number) {
		j->flags |= TRAILER;
		j->state = FIELD;
		return MORE;
	}
	j->skip = j->number;
	j->number = j->digits = 0;
	j->state = CHUNK_END;
	return BODY;
}

ALONE int act(struct judge *j)
{
	__u32 digit, action;

	if (!j)
		return REFUSE;
	action = j->action;
	switch (action) {
	case LINE10:
	case DENIED10:
		j->flags |= OLD;
	case LINE11:
	case DENIED11:
		if (action == DENIED10 || action == DENIED11)
			j->flags |= REFUSED;
		j->flags |= LINE_READ;
		return MORE;
	case LENGTH:
		if (j->flags & (COUNTED | TRAILER | CHUNKED))
			return refuse(j, FRAMING);
		j->flags |= COUNTED;
		j->number = j->digits = 0;
		return MORE;
	case CODING:
		if (j->flags & (COUNTED | TRAILER | CHUNKED | OLD))
			return refuse(j, FRAMING);
		j->flags |= CHUNKED;
		return MORE;
	case DIGIT:
	case HEX:
		digit = last_byte(j);
		digit = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
		if (++j->digits > (action == HEX ? 8 : 15))
			return refuse(j, FRAMING);
		j->number = j->number * (action == HEX ? 16 : 10) + digit;
		return MORE;
	case SIZE:
		return chunk(j);
	case STATUS:
		j->status = j->status * 10 + last_byte(j) - '0';
		return MORE;
	case ANSWER:
		j->flags |= LINE_READ;
		return MORE;
	case HEAD:
		if (j->flags & TRAILER) {
			renew(j);
			return MESSAGE_END;
		}
		return body(j);
	}
	return MORE;
}

/* Read what stands in text. BODY: `skip` bytes are to be passed over, beginning at `at`. BLOCK_END: text is used up. */
ALONE int read_text(struct judge *j)
{
	int i, event;

	if (!j)
		return REFUSE;
	for (i = 0; i < STEPS; i++) {
		if (j->skip)
			return BODY;
		if (j->at >= j->have)
			return BLOCK_END;
		if (j->state == BETWEEN) {
			renew(j);
			event = begin(j);
			if (event != MORE)
				return event;
		}
		event = walk(j);
		if (event == BLOCK_END && j->action)
			event = act(j);
		if (event == HEAD_READ || event == REFUSE || event == MESSAGE_END)
			return event;
	}
	return MORE;
}

/* Pass over what the block and the packet have of a body. */
static __always_inline void pass_over(struct judge *j)
{
	__u64 here = j->have - j->at;

	if (here > j->skip)
		here = j->skip;
	j->at += here;
	j->skip -= here;
	here = j->end - j->position;
	if (here > j->skip)
		here = j->skip;
	j->position += here;
	j->skip -= here;
}

/* Rules may change under a start line that has begun, but not twice: its states would be others by then. */
static __always_inline int stale(const struct judge *j)
{
	__u32 zero = 0;
	struct generation *g = bpf_map_lookup_elem(&generation, &zero);

	if (j->state == BETWEEN || j->flags & (LINE_READ | READING_ANSWERS))
		return 0;
	return !g || (__s32)(j->generation - *(volatile __u32 *)&g->oldest) < 0;
}

#endif
