/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is counted, and for whom. The agent reads these structures; see datapaths/bpf/http.py. */
#ifndef COUNTS_H
#define COUNTS_H

#include <linux/types.h>

#define PATH 64
#define NOBODY 0xffffffffU /* the identity under which what found no room is counted; 0 is an unknown address */
#define CLASSES 10 /* of status; slot i of the metrics is that of NOBODY's answers of class i */
#define FEW 16 /* route numbers below stand for a method with any path; pattern i has FEW + i */
#define SEGMENT 64 /* bytes of the longest literal segment in a pattern (a multiple of 8) */
#define NOWHERE 0 /* states of the routes' automaton */
#define BEGINNING 1

enum total {
	REQUESTS, /* heads read to the end */
	ANSWERED, /* final answers, read to the end */
	UNANSWERED, /* connection closed before the answer's end, or the answer could not be told apart */
	NOT_HTTP, /* a request or an answer that is not HTTP/1.x; its connection is given up */
	HOLES, /* bytes of a head or a chunk were never seen in order; the connection is given up */
	UNTOLD, /* more than DEPTH requests waited; counted here and in UNANSWERED at the end */
	UPGRADED, /* connections that became something else after 101 or CONNECT */
	NO_ROOM, /* answers counted under NOBODY because the map was full */
	CONNECTIONS,
	UNWATCHED, /* connections for which the kernel gave no memory */
	UPGRADED_BYTES, /* after 101 or CONNECT, in both directions */
	TOTALS,
};

/* The automaton of the configured patterns, see routes.h. Edges lead to states; NOWHERE: no pattern can match. */
struct route_state {
	__u32 any, empty; /* where a segment leads that is no literal of this state, and an empty one */
	__u32 number; /* of the best pattern that matches a path that ends here; 0: none */
	__u16 literals; /* it has edges with texts */
	__u16 settled; /* whatever follows, the same pattern matches */
};

struct route_point {
	__u64 hash;
	__u32 state, length;
};

struct route_edge {
	char text[SEGMENT]; /* zero-padded */
	__u32 next, spare;
};

struct key {
	__u32 source, destination, route;
	__u16 status, method;
} __attribute__((aligned(8)));

/* What is known of a request by its first line. */
struct route {
	char path[PATH]; /* without query, zero-padded */
	__u32 method;
	__u32 cut; /* the path was longer */
} __attribute__((aligned(8)));

/* Durations in ns from 2^10 to 2^36, 16 buckets an octave: each is 1/16 wide, so its middle is within 3.2 %. */
#define SHIFT 4
#define LOWEST 10
#define HIGHEST 36
#define BUCKETS (((HIGHEST - LOWEST) << SHIFT) + 2)

struct metric {
	__u64 count, bytes, duration_ns;
	__u64 upgraded_bytes; /* both directions, after the answer */
	__u32 buckets[BUCKETS];
};

static inline __u32 octave(__u64 value)
{
	__u32 power = 0;

	if (value >> 32) {
		power += 32;
		value >>= 32;
	}
	if (value >> 16) {
		power += 16;
		value >>= 16;
	}
	if (value >> 8) {
		power += 8;
		value >>= 8;
	}
	if (value >> 4) {
		power += 4;
		value >>= 4;
	}
	return power + (value >> 3 ? 3 : value >> 2 ? 2 : value >> 1 ? 1 : 0);
}

/* 0: below the range; BUCKETS - 1: above it. */
static inline __u32 bucket(__u64 ns)
{
	__u32 power = octave(ns);

	if (power < LOWEST)
		return 0;
	if (power >= HIGHEST)
		return BUCKETS - 1;
	return 1 + ((power - LOWEST) << SHIFT) + ((ns >> (power - SHIFT)) & ((1 << SHIFT) - 1));
}

#endif
