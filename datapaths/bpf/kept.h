/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What a socket keeps of the choices that were made for it. It goes with the socket, so there is nothing to expire. */
#ifndef KEPT_H
#define KEPT_H

#include "place.h"

#define TALKS 8 /* services that an unconnected socket talks to at the same time; a newer one takes the oldest place */

struct flow {
	struct place service, endpoint;
	__u32 generation; /* when the endpoint was last known to be one */
};

struct talks {
	struct flow flow[TALKS];
	__u32 next;
};

/* Where a connected socket wanted to go and where it went. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flow);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct talks);
} conversations SEC(".maps");

static __always_inline struct flow *talk_to(struct talks *talks, const struct place *service)
{
	for (int i = 0; i < TALKS; i++)
		if (same(&talks->flow[i].service, service))
			return &talks->flow[i];
	return 0;
}

/* Of two services that share an endpoint, the one in the first place. */
static __always_inline struct flow *talk_with(struct talks *talks, const struct place *endpoint)
{
	for (int i = 0; i < TALKS; i++)
		if (talks->flow[i].service.protocol && same(&talks->flow[i].endpoint, endpoint))
			return &talks->flow[i];
	return 0;
}

#endif
