/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is kept of a request's W3C trace context (https://www.w3.org/TR/trace-context-2/) until its answer is complete. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include <linux/types.h>

struct context {
	__u32 trace[4]; /* the sixteen bytes of the trace-id, in their order */
	__u32 parent[2]; /* the eight of the caller's span */
	__u8 flags; /* bit 0: sampled */
	__u8 minor; /* of HTTP/1.x, a character */
	__u8 fields; /* traceparent fields in this head */
	__u8 valid; /* there was one, and it is well-formed */
	__u8 recorded; /* its end will be a span */
};

#endif
