/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What the programs keep, and how they count. */
#ifndef MAPS_H
#define MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "counters.h"
#include "counts.h"
#include "stream.h"

/* Set by the agent before loading. */
const volatile struct {
	__u32 client_side; /* watch the pod's outgoing connections, not those it accepts */
	__u32 most_routes;
	__u32 patterns; /* routes are the configured patterns, not raw paths */
	__u32 most_slots; /* of metrics */
} options SEC(".rodata.options") = { 0, 1024, 0, 512 };

static const struct stream no_stream;
__u32 routes_given = FEW;
__u32 slots_given = CLASSES;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} streams SEC(".maps");

/* As IPv6 writes it; IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u32 part[4]; /* network byte order */
};

struct tuple {
	struct address client, server;
	__u16 client_port, server_port; /* network byte order */
};

/* Connections whose first bytes came with the packet that completes the handshake: they are not sockets yet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct tuple);
	__type(value, struct stream);
} early SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} identities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct route);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct route_state);
} route_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct route_point);
	__type(value, struct route_edge);
} route_edges SEC(".maps");

/* Where in `metrics` a key is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct key);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, struct metric);
} metrics SEC(".maps");

COUNTERS(totals, TOTALS, count)

static __always_inline void give_up(struct stream *s, __u32 why)
{
	if (!s->opaque) {
		s->opaque = 1;
		count(why, 1);
	}
}

#endif
