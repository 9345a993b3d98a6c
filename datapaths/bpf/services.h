/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Services and their endpoints, and the choice of one.
 *
 * The tables have two banks. The agent fills the idle one and then counts `generation` up, whose lowest bit is the bank
 * in use: a program reads it once and never sees half of an update. Sockets keep what they have. A choice is made by
 * Walker's alias method: one slot by chance, then it or its alias by chance; any weights, no loop. The agent builds the
 * slots for its own node, so "the same node first" costs nothing here. */
#ifndef SERVICES_H
#define SERVICES_H

#include "place.h"

struct service {
	__u32 first; /* slot; the slots of a bank are every second one */
	__u32 slots;
};

struct slot {
	struct place endpoint;
	__u32 keep; /* of 2^32; else the alias */
	__u32 alias;
};

struct member {
	struct place service, endpoint;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct place);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* All endpoints, also those that get nothing new: where an unconnected socket may go on talking to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct member);
	__type(value, __u32);
} members SEC(".maps");

static __always_inline __u32 now(void)
{
	__u32 zero = 0, *found = bpf_map_lookup_elem(&generation, &zero);

	return found ? *(volatile __u32 *)found : 0;
}

static __always_inline bool choose(const struct service *s, struct place *to)
{
	__u32 at = s->first + 2 * (((__u64)bpf_get_prandom_u32() * s->slots) >> 32);
	struct slot *slot = s->slots ? bpf_map_lookup_elem(&slots, &at) : 0;

	if (slot && bpf_get_prandom_u32() >= slot->keep) {
		at = slot->alias;
		slot = bpf_map_lookup_elem(&slots, &at);
	}
	if (slot)
		*to = slot->endpoint;
	return slot;
}

static __always_inline struct service *find(struct place *to, __u8 bank)
{
	to->bank = bank;
	return bpf_map_lookup_elem(&services, to);
}

static __always_inline bool is_member(const struct place *service, const struct place *endpoint)
{
	struct member key = { *service, *endpoint };

	return bpf_map_lookup_elem(&members, &key);
}

#endif
