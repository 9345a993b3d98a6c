/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* TCP segments: which of their bytes were not read yet, and what to do about gaps. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define PATIENCE 4096 /* tries to take a direction: some tens of microseconds */

struct segment {
	struct tuple ends; /* sender in the client's place */
	__u32 sequence, payload; /* payload: its position in the packet */
	__u32 finished;
};

static __always_inline int segment_of(struct __sk_buff *skb, struct segment *g)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;
	__u32 header;

	if (skb->protocol != bpf_htons(ETH_P_IP) || data + sizeof(*ip) > data_end || ip->protocol != IPPROTO_TCP)
		return 0;
	header = ip->ihl * 4;
	tcp = data + header;
	if ((void *)(tcp + 1) > data_end)
		return 0;
	g->ends.client = ip->saddr;
	g->ends.server = ip->daddr;
	g->ends.client_port = tcp->source;
	g->ends.server_port = tcp->dest;
	g->sequence = bpf_ntohl(tcp->seq) + tcp->syn;
	g->payload = header + tcp->doff * 4;
	g->finished = tcp->fin;
	return 1;
}

/* Go past bytes that are not needed: they are within a body. 0 where there is more to them than a body. */
static __always_inline int step_over(struct half *h, __u32 missing)
{
	if (h->phase < TO_CLOSE) {
		if (h->phase < COUNTED || missing > h->left)
			return 0;
		h->left -= missing;
	}
	h->bytes += missing;
	h->next += missing;
	return 1;
}

/* Too early to be read, and it will not come again: remember that it was here. */
static __always_inline void put_aside(struct half *h, __u32 from, __u32 to)
{
	if (h->aside == h->aside_end) {
		h->aside = from;
		h->aside_end = to;
		return;
	}
	if ((__s32)(from - h->aside) < 0)
		h->aside = from;
	if ((__s32)(to - h->aside_end) > 0)
		h->aside_end = to;
}

/* Point h at the part of the packet that was not read yet; USED_UP where there is none that can be read now. */
static __always_inline int place(struct __sk_buff *skb, const struct segment *g, struct half *h)
{
	__s32 seen = h->next - g->sequence;
	__u32 end;

	h->position = g->payload;
	h->end = skb->len;
	end = g->sequence + (h->end - h->position);
	if (seen >= 0) {
		if (h->end - h->position <= (__u32)seen)
			return USED_UP;
		h->position += seen;
	} else if (!step_over(h, -seen)) {
		put_aside(h, g->sequence, end);
		return USED_UP;
	}
	h->next = end;
	return AGAIN;
}

/* The gap before what was put aside has closed: step over it too. */
static __always_inline int catch_up(struct half *h)
{
	if (h->aside == h->aside_end || (__s32)(h->next - h->aside) < 0)
		return USED_UP;
	h->aside = h->aside_end;
	if ((__s32)(h->aside_end - h->next) <= 0)
		return USED_UP;
	return step_over(h, h->aside_end - h->next) ? AGAIN : HOLE;
}

static __always_inline void take(struct half *h)
{
	int i;

	for (i = 0; i < PATIENCE; i++)
		if (!__sync_lock_test_and_set(&h->busy, 1))
			return;
}

#endif
