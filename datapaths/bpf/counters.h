/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Counters by number, one of each for every processor. */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The map `name` with so many counters, and the function `add(which, by)`. Atomic although per processor: a softirq may
 * count in the middle of a process's counting. */
#define COUNTERS(name, entries, add)                                                                                   \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, entries);                                                                          \
		__type(key, __u32);                                                                                    \
		__type(value, __u64);                                                                                  \
	} name SEC(".maps");                                                                                           \
                                                                                                                       \
	static __always_inline void add(__u32 which, __u64 by)                                                         \
	{                                                                                                              \
		__u64 *counter = bpf_map_lookup_elem(&name, &which);                                                   \
                                                                                                                       \
		if (counter)                                                                                           \
			__sync_fetch_and_add(counter, by);                                                             \
	}

#endif
