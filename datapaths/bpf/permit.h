/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Who may connect to whom: L3/L4 policy by identity, asked when a socket of a pod connects or sends.
 *
 * The source is the pod whose cgroup the socket was made in, and not an address: a socket has none yet, and a pod could
 * bind another's. The destination is the identity of the address after balancing. Rules name identities or any known
 * one; who is not known matches only a rule for `unknown`. Of several entries one that matches is enough. */
#ifndef PERMIT_H
#define PERMIT_H

#include "place.h"

enum { ANY, UNKNOWN, NAMED }; /* numbers that are no identity's; NAMED: as `from`, says that a rule names `to` */
enum mode { OFF, ENFORCE, AUDIT };
enum verdict { ALLOWED, NO_RULE, NOT_KNOWN };

struct settings {
	__u32 mode;
	__u32 allow; /* the default: destinations that no rule names are open */
};

/* Which pod a socket belongs to; one entry comes with each cgroup that the programs are attached to. */
struct pod {
	__u32 address[4];
	__u32 identity;
};

struct rule {
	__u32 from, to;
	__u16 port; /* host byte order; 0: every */
	__u16 bank;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct pod);
} pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct place); /* port and protocol 0 */
	__type(value, __u32);
} identities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct rule);
	__type(value, __u32);
} rules SEC(".maps");

static __always_inline bool listed(__u32 from, __u32 to, __u16 port, __u16 bank)
{
	struct rule key = { from, to, port, bank };

	return bpf_map_lookup_elem(&rules, &key);
}

static __always_inline __u32 identity(const struct place *p, __u8 bank)
{
	struct place key = { { p->address[0], p->address[1], p->address[2], p->address[3] }, 0, 0, bank };
	__u32 *found = bpf_map_lookup_elem(&identities, &key);

	return found ? *found : UNKNOWN;
}

/* From the exact rule to the widest. */
static __always_inline bool ruled(__u32 from, __u32 to, __u16 port, __u16 bank)
{
#pragma unroll
	for (int wide = 0; wide < 8; wide++) {
		if ((wide & 4 && from == UNKNOWN) || (wide & 2 && to == UNKNOWN))
			continue;
		if (listed(wide & 4 ? ANY : from, wide & 2 ? ANY : to, wide & 1 ? 0 : port, bank))
			return true;
	}
	return false;
}

/* What the rules say of a socket of `own` that goes to `to`, which is not the pod itself. */
static __always_inline enum verdict judge(const struct settings *set, const struct pod *own, const struct place *to,
					  __u8 bank)
{
	__u32 from = own->identity ? own->identity : UNKNOWN, peer = identity(to, bank);

	if (ruled(from, peer, bpf_ntohs(to->port), bank))
		return ALLOWED;
	if (set->allow && !listed(NAMED, peer, 0, bank) && (peer == UNKNOWN || !listed(NAMED, ANY, 0, bank)))
		return ALLOWED;
	return from == UNKNOWN || peer == UNKNOWN ? NOT_KNOWN : NO_RULE;
}

#endif
