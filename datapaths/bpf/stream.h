/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* One TCP connection as two streams of bytes, and what of an HTTP/1.x message is being read in each. */
#ifndef STREAM_H
#define STREAM_H

#include <linux/types.h>
#include <stddef.h>
#include "context.h"
#include "counts.h"

#define BLOCK 256 /* bytes taken from a packet at a time */
#define HELD 256 /* an unfinished line kept between blocks; of a longer one its first FRONT and last BACK bytes */
#define FRONT 240
#define BACK 16
#define BROKEN 2
#define FULL (HELD + BLOCK)
#define TEXT 1024 /* FULL, and room to read words that start before it */
#define DEPTH 32 /* requests of one connection that may wait for their answers (a power of two) */

enum phase {
	START, /* before or in the first line of a message */
	FIELDS, /* in its header fields */
	SIZE, /* in the line that gives the size of a chunk */
	CHUNK_END, /* in the empty line after a chunk */
	TRAILER, /* in the fields after the last chunk */
	COUNTED, /* in a body whose length is known; from here on no lines are read */
	CHUNK,
	TO_CLOSE, /* in a body that ends with the connection */
	IGNORED, /* in answers that cannot be told apart any more */
	TUNNEL, /* in what follows an upgrade or CONNECT: not HTTP, only counted */
};

enum event {
	USED_UP, /* the packet has no more */
	AGAIN,
	LINE, /* a whole line stands at [cursor, stop) */
	HEAD, /* the empty line after the header fields was read */
	BODY_END,
	BAD, /* this is not HTTP/1.x */
	HOLE, /* bytes that must be read came too early, and will not come again */
};

enum coding { PLAIN, CHUNKED, UNKNOWN_CODING }; /* of the transfer */

enum method { OTHER_METHOD, GET, HEAD_METHOD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH, METHODS };

/* The path asked for last: the same one need not be looked up again. */
struct asked {
	__u32 number; /* of its route */
	__u8 method;
	__u8 length; /* of the path; 0: there was none, or it was too long to be kept */
	__u16 spare;
	char path[PATH]; /* zero-padded */
};

/* One direction of a connection. Positions are in map memory, not in registers, so that the verifier sees each step once.
 * At ten thousand packets a second a connection's memory is cold whenever one comes, and each cache line that is waited
 * for costs more than the work on it: what is read before it is written stands in the first 64 bytes.
 */
struct half {
	__u64 left; /* bytes of the counted body or chunk that are still to come */
	__u64 bytes; /* of the message being read: its body, as far as seen */
	__u64 began; /* when the first byte of the message was seen, ns; 0: not yet */
	__u32 next; /* TCP sequence number of the first byte not yet read */
	__u32 busy; /* a processor is at work on this direction */
	__u32 aside, aside_end; /* sequence numbers of bytes that came too early and were not read; equal: none */
	__u32 cursor; /* in text: the first byte not yet read */
	__u32 have; /* in text: behind its last byte */
	__u32 route;
	__u16 status;
	__u8 phase;
	__u8 method;
	__u8 chunked; /* enum coding */
	__u8 counted; /* the message has a Content-Length */
	__u8 squeezed; /* the middle of the line at the front of text was dropped; with BROKEN: no target of a request */
	__u8 odd; /* a length and a coding, a coding in HTTP/1.0, or several: not every server reads the body alike */
	__u8 version; /* the digit behind HTTP/1. */
	__u8 framing; /* the field before said where the body ends: it must not be folded */
	__u16 spare;
	/* of the packet that is being read */
	__u64 now; /* when it was seen, ns */
	__u32 position; /* in it: the next byte to copy to text */
	__u32 end; /* in it: behind its last byte */
	__u32 stop; /* in text: the line feed of the line that was found */
	__u32 digits; /* in text: where a number is read */
	struct asked asked; /* requests */
#ifdef TRACED
	struct context context; /* of the request being read */
#endif
	__attribute__((aligned(8))) char text[TEXT];
#ifndef TRACED
	__u64 filled[4]; /* whole cache lines */
#endif
};

/* A request that was read to the end of its head and waits for its answer. */
struct waiting {
	__u64 began;
	__u32 route;
	__u32 method;
#ifdef TRACED
	struct context context;
#endif
};

/* What every packet needs stands first: the kernel begins a socket's storage eight bytes behind a cache line's start. */
struct stream {
	__u8 opaque; /* given up, or not HTTP/1.x any more: nothing is read in either direction */
	__u8 tunnel; /* set by the response's side: the last answer made the connection something else */
	__attribute__((aligned(4))) __u8 deaf; /* more than DEPTH waited: from here on answers cannot be told apart */
	__u32 pushed; /* written by the request's side only */
	__u32 popped; /* written by the response's side only */
	__u32 base; /* that many were pushed when nothing waited: the next took the first place */
	__u32 source, destination; /* identities */
	__u32 slot; /* one more than that of what was counted last; 0: nothing was */
	__u32 route; /* of what was counted last */
	__u16 status, method;
	struct waiting waiting[DEPTH];
	__u32 first; /* sequence number that the request's direction began with */
	__u32 filled[3];
	struct half request, response;
};

_Static_assert(sizeof(struct half) % 64 == 0, "the second half begins at a cache line as the first does");
_Static_assert((offsetof(struct stream, request) + 8) % 64 == 0, "and that at one");
_Static_assert(sizeof(struct stream) + 72 <= 4096, "with the kernel's own head it fits a page");

/* The request that has waited longest, where one waits. */
static inline struct waiting *longest_waiting(struct stream *s)
{
	return &s->waiting[(s->popped - *(volatile __u32 *)&s->base) & (DEPTH - 1)];
}

#endif
