/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Connections under policy, and the packets they come in. */
#ifndef FLOWS_H
#define FLOWS_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "judge.h"

#define ALLOW 1
#define DROP 0
#define PATIENCE 1024 /* tries to take a flow: some microseconds */
#define MOST_BLOCKS 640 /* and other steps, in a packet of at most 64 KB */

/* A connection, at the server or at the client. */
struct flow {
	struct judge request, answer; /* answers: at the client only */
	__u32 next; /* TCP sequence number of the first byte not yet read, of requests or of answers */
	__u32 judged; /* behind the last byte that was more than a body */
	__u32 busy; /* a processor is at work on it */
	__u32 first; /* sequence number it began with, while it is no socket yet */
	__u32 sent, answered; /* requests, at the client */
	__u64 bodiless; /* which of the last 64 requests were HEAD */
	__u8 client, poisoned, opaque, unseen, loaded;
	__u8 lost; /* at the client: answers cannot be told apart any more */
	__u8 last; /* at the client: was answered 403 with Connection: close, so that nothing more may be sent */
	__u8 watched, head;
	__u64 cookie;
};

struct ends {
	struct address client, server;
	__u32 client_port, server_port; /* host byte order */
};

struct segment {
	struct ends ends; /* sender in the client's place */
	__u32 sequence, payload; /* payload: its position in the packet */
	__u8 finished, urgent, opening, loopback;
};

static const struct flow no_flow;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct flow);
} flows SEC(".maps");

/* Connections whose first bytes came with the packet that completes the handshake: they are not sockets yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct ends);
	__type(value, struct flow);
} early SEC(".maps");

static __always_inline void mapped(struct address *to, __u32 ipv4)
{
	*to = (struct address){ { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

/* Addresses and where TCP begins; 0 where that cannot be told. */
static __always_inline __u32 network_header(struct __sk_buff *skb, struct segment *g)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP)
			return 0;
		mapped(&g->ends.client, ip.saddr);
		mapped(&g->ends.server, ip.daddr);
		g->loopback = (ip.saddr & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
		return ip.ihl * 4;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(&g->ends.client, &ip.saddr, 16);
		__builtin_memcpy(&g->ends.server, &ip.daddr, 16);
		g->loopback = !(g->ends.client.word[0] | g->ends.client.word[1] | g->ends.client.word[2]) &&
			      g->ends.client.word[3] == bpf_htonl(1);
		return sizeof(ip);
	}
	return 0;
}

static __always_inline int segment_of(struct __sk_buff *skb, struct segment *g)
{
	__u32 header = network_header(skb, g);
	struct tcphdr tcp;

	if (!header || bpf_skb_load_bytes(skb, header, &tcp, sizeof(tcp)))
		return 0;
	g->ends.client_port = bpf_ntohs(tcp.source);
	g->ends.server_port = bpf_ntohs(tcp.dest);
	g->sequence = bpf_ntohl(tcp.seq) + tcp.syn;
	g->payload = header + tcp.doff * 4;
	g->finished = tcp.fin;
	g->urgent = tcp.urg;
	g->opening = tcp.syn && !tcp.ack;
	return g->payload <= skb->len;
}

/* The next block of a packet. */
static __always_inline int load_packet(struct __sk_buff *skb, struct judge *j)
{
	__u32 size = j->end - j->position;

	if (size > BLOCK)
		size = BLOCK;
	asm volatile("" : "+r"(size)); /* clang would test a copy of it, and the verifier not know the original */
	if (size < 1 || size > BLOCK || bpf_skb_load_bytes(skb, j->position, j->text, size))
		return -1;
	j->position += size;
	j->at = 0;
	j->have = size;
	return 0;
}

static __always_inline void begin_flow(struct flow *f, __u32 source, __u32 destination, __u32 sequence)
{
	f->request.source = source;
	f->request.destination = destination;
	f->request.state = BETWEEN;
	f->next = f->judged = sequence;
}

ALONE int take(struct flow *f)
{
	int i;

	if (!f)
		return 0;
	for (i = 0; i < PATIENCE; i++)
		if (!__sync_lock_test_and_set(&f->busy, 1))
			return 1;
	return 0;
}

#endif
