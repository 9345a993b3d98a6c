/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* TCP segments: which of their bytes were not read yet, and what to do about gaps. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define EXTENSIONS 4 /* headers behind that of IPv6 that are gone through */
#define MOST_HEADERS 16384 /* bytes before TCP's own: more than EXTENSIONS have */
#define PATIENCE 4096 /* tries to take a direction: some tens of microseconds */

struct segment {
	__u32 sequence, payload; /* payload: its position in the packet */
	__u32 finished;
};

static __always_inline struct address mapped(__u32 ipv4)
{
	struct address a = { { 0, 0, bpf_htonl(0xffff), ipv4 } };

	return a;
}

/* Where TCP begins behind IPv6's header and its extensions; 0: nowhere that is known. */
static __always_inline __u32 behind_extensions(struct __sk_buff *skb, __u8 kind)
{
	__u32 i, at = sizeof(struct ipv6hdr);

	for (i = 0; i < EXTENSIONS; i++) {
		struct ipv6_opt_hdr extension;

		if (kind == IPPROTO_TCP)
			break;
		if ((kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS &&
		     kind != IPPROTO_FRAGMENT) ||
		    bpf_skb_load_bytes(skb, at, &extension, sizeof(extension)))
			return 0;
		at += kind == IPPROTO_FRAGMENT ? 8 : (extension.hdrlen + 1) * 8;
		kind = extension.nexthdr;
	}
	return kind == IPPROTO_TCP ? at : 0;
}

/* Where TCP begins; 0 where it is not found. */
static __always_inline __u32 network_header(struct __sk_buff *skb, void *data, void *data_end)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		return data + sizeof(*ip) > data_end || ip->protocol != IPPROTO_TCP ? 0 : ip->ihl * 4;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;

		return data + sizeof(*ip) > data_end ? 0 : behind_extensions(skb, ip->nexthdr);
	}
	return 0;
}

static __always_inline int segment_of(struct __sk_buff *skb, struct segment *g)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__u32 header = network_header(skb, data, data_end);
	struct tcphdr apart, *tcp = data + header;

	if (!header || header > MOST_HEADERS)
		return 0;
	if ((void *)(tcp + 1) > data_end) {
		tcp = &apart;
		if (bpf_skb_load_bytes(skb, header, tcp, sizeof(*tcp)))
			return 0;
	}
	g->sequence = bpf_ntohl(tcp->seq) + tcp->syn;
	g->payload = header + tcp->doff * 4;
	g->finished = tcp->fin;
	return 1;
}

/* Both ends, the sender in the client's place. */
static __always_inline int ends_of(struct __sk_buff *skb, struct tuple *ends)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	__u32 header = network_header(skb, data, data_end);

	if (!header || bpf_skb_load_bytes(skb, header, &ends->client_port, sizeof(__u32)))
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if (data + sizeof(*ip) > data_end)
			return 0;
		ends->client = mapped(ip->saddr);
		ends->server = mapped(ip->daddr);
	} else {
		struct ipv6hdr *ip = data;

		if (data + sizeof(*ip) > data_end)
			return 0;
		__builtin_memcpy(&ends->client, &ip->saddr, sizeof(ends->client));
		__builtin_memcpy(&ends->server, &ip->daddr, sizeof(ends->server));
	}
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

/* Of two processors that hold incoming packets of one direction one waits. */
static __always_inline void take(struct half *h)
{
	int i;

	for (i = 0; i < PATIENCE; i++)
		if (!__sync_lock_test_and_set(&h->busy, 1))
			return;
}

static __always_inline void leave(struct half *h)
{
	__sync_lock_test_and_set(&h->busy, 0);
}

#endif
