/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What policy by identity keeps: the rules as an automaton, who is who, and what is counted.
 *
 * The agent writes the automaton of grammar.py into `rows`: a state a row, one next state for each byte. States below
 * REASONS say why a byte is refused; those behind them read header fields and chunks and never change; all others read a
 * start line under the rules of one source and destination, and belong to one of two halves, of which the generation's
 * lowest bit says which is in use.
 */
#ifndef POLICY_H
#define POLICY_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "counters.h"

#define ALONE __attribute__((noinline))
#define BLOCK 256 /* bytes taken at a time */
#define BYTES 130 /* a next state for each byte below 128, one for those above; even */
#define LONGEST_LINE 8192 /* a start line */
#define LONGEST_HEAD 16384 /* and the header fields */
#define ANYBODY 0
#define UNKNOWN 1 /* an address without identity */
#define NAMED 2 /* as `source`, says that a rule names `destination` */

/* Why something is refused. As REASONS in policy.py. */
enum reason {
	MALFORMED, /* no HTTP/1.0 or 1.1 as RFC 9112 has it, or more liberty than two parsers agree on */
	RULE, /* a request that no rule allows */
	UPGRADE, /* a request to become another protocol */
	FRAMING, /* Content-Length and Transfer-Encoding that are together, twice or not plain */
	TOO_LONG, /* start line, head, or more pieces than can be read at once */
	UNFINISHED, /* the connection was ended in the middle of a head */
	UNSEEN, /* a connection older than the agent, or whose beginning was missed */
	RESENT, /* bytes that were judged, not accepted by the socket, and sent anew: they may have changed */
	URGENT, /* TCP urgent data, which the application would not read in its place */
	SHARED, /* pages that the sender can still change */
	STALE, /* the rules changed twice in the middle of a start line */
	NO_MEMORY,
	CONNECTION, /* L3/L4: no rule for this connection */
	REASONS,
};

enum total {
	ALLOWED, /* requests */
	ANSWERED, /* denied requests that were answered 403 */
	CUT, /* connections that may send no more (sender: EACCES) because a 403 would not have been in its place */
	POISONED, /* connections of which nothing more reaches the server */
	LATE, /* packets dropped on poisoned connections */
	EARLY, /* packets dropped because bytes before them were missing */
	OPENED, /* connections under L7 policy */
	DENIED, /* REASONS of them */
	AUDITED = DENIED + REASONS, /* REASONS of them */
	TOTALS = AUDITED + REASONS,
};

/* States with a meaning for the reader; as in states.py. */
enum state { BETWEEN = 32, FIELD, SIZE_START, CHUNK_END, FIRST_FREE = 64 };

enum action {
	NOTHING,
	LINE10, /* a start line that a rule allows was read; HTTP/1.0 */
	LINE11,
	DENIED10, /* ... that none does */
	DENIED11,
	LENGTH, /* the name Content-Length was read */
	DIGIT,
	CODING, /* Transfer-Encoding: chunked was read */
	HEX,
	SIZE, /* the line with the size of a chunk was read */
	HEAD, /* the empty line behind fields was read */
	STATUS, /* a digit of an answer's status */
	ANSWER, /* an answer's first line was read */
};

enum { MOVES, IN_NAME, IN_VALUE }; /* lingers: letters, digits and hyphens lead back to it, or all but control bytes do */

struct row {
	__u16 action; /* when this state is entered */
	__u8 hopeless; /* no rule allows what begins like this */
	__u8 lingers;
	__u16 next[BYTES];
};

enum { COUNTED = 1, CHUNKED = 2, TRAILER = 4, OLD = 8, REFUSED = 16, READING_ANSWERS = 32, LINE_READ = 64, IN_CHUNKS = 128 };

/* One direction of a connection, as far as it was read. */
struct judge {
	__u64 skip; /* bytes of a body that are still to come */
	__u64 number; /* the one being read */
	__u32 source, destination;
	__u32 generation;
	__u32 state;
	__u32 length; /* of the head being read, so far */
	__u32 position, end; /* in the packet or message */
	__u32 at, have; /* in text */
	__u16 flags;
	__u16 digits;
	__u16 reason;
	__u16 strict; /* 1: stop where nothing can be allowed any more, and not at the end of the head only */
	__u16 status;
	__u16 action; /* to be done */
	__u32 spare;
	char text[BLOCK];
};

enum event { MORE, HEAD_READ, BODY, REFUSE, BLOCK_END, MESSAGE_END };

/* Set by the agent before loading. */
const volatile struct {
	__u32 server, client; /* the sides that are on */
} options SEC(".rodata.options") = { 1, 1 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct row);
} rows SEC(".maps");

struct settings {
	__u32 enforce; /* 0: audit */
	__u32 connections; /* L3/L4 rules hold */
	__u32 allow; /* the default: destinations that no rule names are open */
	__u32 answers; /* the state in which an answer begins */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct generation {
	__u32 now; /* its lowest bit is the half in use */
	__u32 oldest; /* start lines that began under older rules are refused: the agent is writing over those */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generation);
} generation SEC(".maps");

COUNTERS(totals, TOTALS, count)

struct address {
	__u32 word[4]; /* IPv4 as ::ffff:a.b.c.d; network byte order */
};

struct identity_key {
	struct address address;
	__u32 half;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct identity_key);
	__type(value, __u32);
} identities SEC(".maps");

struct pair {
	__u32 source, destination, half;
};

/* The state in which a start line of this source for this destination begins. A destination that has none for ANYBODY is
 * under no L7 policy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct pair);
	__type(value, __u32);
} starts SEC(".maps");

struct connection {
	__u32 source, destination, half;
	__u32 port; /* host byte order; 0: every */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct connection);
	__type(value, __u32);
} connections SEC(".maps");

static __always_inline __u32 current(void)
{
	__u32 zero = 0;
	struct generation *g = bpf_map_lookup_elem(&generation, &zero);

	return g ? *(volatile __u32 *)&g->now : 0;
}

static __always_inline const struct settings *rules_now(__u32 now)
{
	__u32 half = now & 1;

	return bpf_map_lookup_elem(&settings, &half);
}

static __always_inline __u32 identity(const struct address *address, __u32 half)
{
	struct identity_key key = { *address, half };
	__u32 *found = bpf_map_lookup_elem(&identities, &key);

	return found ? *found : UNKNOWN;
}

/* Where a start line begins; 0 where the destination is under no L7 policy. */
static __always_inline __u32 start(__u32 source, __u32 destination, __u32 half)
{
	struct pair key = { source, destination, half };
	__u32 *found = bpf_map_lookup_elem(&starts, &key);

	if (!found) {
		key.source = ANYBODY;
		found = bpf_map_lookup_elem(&starts, &key);
	}
	return found ? *found : 0;
}

static __always_inline int listed(__u32 source, __u32 destination, __u32 half, __u32 port)
{
	struct connection key = { source, destination, half, port };

	return bpf_map_lookup_elem(&connections, &key) != 0;
}

/* May this connection be? As permit.h, which asks when a socket connects. */
static __always_inline int permitted(const struct settings *set, __u32 from, __u32 to, __u32 half, __u32 port)
{
#pragma unroll
	for (int wide = 0; wide < 8; wide++) {
		if ((wide & 4 && from == UNKNOWN) || (wide & 2 && to == UNKNOWN))
			continue;
		if (listed(wide & 4 ? ANYBODY : from, wide & 2 ? ANYBODY : to, half, wide & 1 ? 0 : port))
			return 1;
	}
	return set->allow && !listed(NAMED, to, half, 0) && (to == UNKNOWN || !listed(NAMED, ANYBODY, half, 0));
}

#endif
