/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* HTTP/1.x requests and answers, read from the packets of a pod's own connections and left untouched.
 *
 * Attached to the pod's cgroup: sock_ops says which connections there are and who is the client; cgroup_skb sees every
 * packet, both ways. State lives in the socket (sk_storage) and goes with it. Connections older than the agent and
 * loopback are not watched.
 *
 * Sequence numbers make each byte be read once: what was seen before is skipped. Packets that overtake others cannot be
 * kept, and TCP does not bring them again. Within a body that does not matter: its bytes are not read anyway. Otherwise
 * they are put aside until the bytes before them have come; if there is a head or the size of a chunk among them, the
 * connection is given up and counted (HOLES).
 *
 * The two directions share little, because they run at once: outgoing packets under the socket's lock, so one after
 * another, incoming ones before it is taken. Requests hand over to answers through a ring that one writes and the other
 * reads. Two processors may hold incoming packets of one connection; the second waits (`busy`).
 *
 * The duration of a request is from the packet with its first byte to the packet with the last byte of its answer.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "answers.h"
#include "requests.h"
#include "segments.h"

#define ALLOW 1
#define AF_INET6 10
#define BLOCK_STEPS 512 /* times STEPS: enough for the smallest chunks in 64 KB */

/* ---- packets ---- */

/* Read what the packet has. What was put aside may then end the message, although this packet has no more. */
#define READ(reader, skb, g, s, h)                                                                                     \
	({                                                                                                             \
		int i, event = place(skb, g, h);                                                                       \
                                                                                                                       \
		for (i = 0; i < BLOCK_STEPS && event == AGAIN; i++) {                                                  \
			event = reader(skb, s);                                                                        \
			if (event == USED_UP)                                                                          \
				event = catch_up(h);                                                                   \
		}                                                                                                      \
		if (event != USED_UP)                                                                                  \
			give_up(s, event == HOLE ? HOLES : NOT_HTTP);                                                   \
		event;                                                                                                 \
	})

static __always_inline void request_packet(struct __sk_buff *skb, const struct segment *g, struct stream *s)
{
	struct half *h = &s->request;

	if (!options.client_side)
		take(h);
	h->now = bpf_ktime_get_ns();
	if (*(volatile __u8 *)&s->tunnel && h->phase != TUNNEL)
		leave_http(h);
	READ(read_request, skb, g, s, h);
	if (h->phase == TUNNEL && h->bytes)
		tunnelled(s, h);
	if (!options.client_side)
		leave(h);
}

static __always_inline void response_packet(struct __sk_buff *skb, const struct segment *g, struct stream *s)
{
	struct half *h = &s->response;
	int event;

	if (options.client_side)
		take(h);
	event = READ(read_response, skb, g, s, h);
	if (g->finished && h->phase == TO_CLOSE && event == USED_UP) {
		record(s);
		renew(h);
	}
	if (h->phase == TUNNEL && h->bytes)
		tunnelled(s, h);
	if (options.client_side)
		leave(h);
}

/* A listening socket's packet with data: its connection becomes a socket only after this program has run. */
static __always_inline struct stream *early_stream(struct __sk_buff *skb, const struct segment *g)
{
	struct tuple ends = {};
	struct stream *s;

	if (!ends_of(skb, &ends))
		return 0;
	s = bpf_map_lookup_elem(&early, &ends);
	if (s && s->first == g->sequence)
		return s;
	bpf_map_update_elem(&early, &ends, &no_stream, BPF_ANY);
	s = bpf_map_lookup_elem(&early, &ends);
	if (s)
		s->first = s->request.next = g->sequence;
	return s;
}

static __always_inline int listens(struct bpf_sock *sk)
{
	sk = bpf_sk_fullsock(sk);
	return sk && sk->state == BPF_TCP_LISTEN;
}

/* A packet of a connection in which TCP was not found, behind headers that are not known here. */
static __always_inline int unreadable(struct stream *s)
{
	if (s)
		give_up(s, HOLES);
	return ALLOW;
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct segment g;
	struct stream *s;

	if (!sk)
		return ALLOW;
	s = bpf_sk_storage_get(&streams, sk, 0, 0);
	if ((s && s->opaque) || (!s && (options.client_side || !listens(sk))))
		return ALLOW;
	if (!segment_of(skb, &g))
		return unreadable(s);
	if (skb->len <= g.payload && !g.finished)
		return ALLOW;
	if (!s && skb->len > g.payload)
		s = early_stream(skb, &g);
	if (!s)
		return ALLOW;
	if (options.client_side)
		response_packet(skb, &g, s);
	else
		request_packet(skb, &g, s);
	return ALLOW;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct segment g;
	struct stream *s;

	if (!sk)
		return ALLOW;
	s = bpf_sk_storage_get(&streams, sk, 0, 0);
	if (!s || s->opaque)
		return ALLOW;
	if (!segment_of(skb, &g))
		return unreadable(s);
	if (skb->len <= g.payload && !g.finished)
		return ALLOW;
	if (options.client_side)
		request_packet(skb, &g, s);
	else
		response_packet(skb, &g, s);
	return ALLOW;
}

/* ---- connections ---- */

/* Volatile, or clang would choose between two fields' addresses, which the verifier does not allow. */
#define FIELD(name) (*(volatile __u32 *)&ops->name)
#define ADDRESS(name) { { FIELD(name[0]), FIELD(name[1]), FIELD(name[2]), FIELD(name[3]) } }

/* Both addresses. A socket of IPv6 that speaks IPv4 has them as ::ffff:a.b.c.d already. */
static __always_inline void addresses(struct bpf_sock_ops *ops, struct address *local, struct address *remote)
{
	if (ops->family == AF_INET6) {
		struct address l = ADDRESS(local_ip6), r = ADDRESS(remote_ip6);

		*local = l;
		*remote = r;
	} else {
		*local = mapped(FIELD(local_ip4));
		*remote = mapped(FIELD(remote_ip4));
	}
}

/* 127.0.0.0/8 and ::1. */
static __always_inline int is_loopback(const struct address *a)
{
	if (a->part[0] || a->part[1])
		return 0;
	if (a->part[2] == bpf_htonl(0xffff))
		return (a->part[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !a->part[2] && a->part[3] == bpf_htonl(1);
}

static __always_inline __u32 identity(const struct address *address)
{
	__u32 *id = bpf_map_lookup_elem(&identities, address);

	return id ? *id : 0;
}

static __always_inline void opened(struct bpf_sock_ops *ops)
{
	__u32 sent = FIELD(snd_nxt), received = FIELD(rcv_nxt);
	struct bpf_sock *sk = ops->sk;
	struct stream *s, *begun;
	struct tuple ends = {};

	addresses(ops, &ends.server, &ends.client); /* the sender stands in the client's place */
	if (!sk || is_loopback(&ends.client))
		return;
	ends.client_port = ops->remote_port >> 16;
	ends.server_port = bpf_htons(ops->local_port);
	begun = options.client_side ? 0 : bpf_map_lookup_elem(&early, &ends);
	if (begun)
		s = bpf_sk_storage_get(&streams, sk, begun, BPF_SK_STORAGE_GET_F_CREATE);
	else
		s = bpf_sk_storage_get(&streams, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	count(s ? CONNECTIONS : UNWATCHED, 1);
	if (s) {
		if (!begun)
			s->request.next = options.client_side ? sent : received;
		s->response.next = options.client_side ? received : sent;
		s->source = identity(options.client_side ? &ends.server : &ends.client);
		s->destination = identity(options.client_side ? &ends.client : &ends.server);
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	}
	if (begun)
		bpf_map_delete_elem(&early, &ends);
}

/* Nothing more will come: an answer that ends with the connection is complete, and what still waits never will be. */
static __always_inline void closed(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct stream *s = sk ? bpf_sk_storage_get(&streams, sk, 0, 0) : 0;

	if (!s)
		return;
	if (s->response.phase == TO_CLOSE && !s->opaque) {
		record(s);
		s->response.phase = START;
	}
	if (!s->opaque && (s->request.aside != s->request.aside_end || s->response.aside != s->response.aside_end))
		count(HOLES, 1);
	trace_unanswered(s);
	if (s->pushed != s->popped)
		count(UNANSWERED, s->pushed - s->popped);
	s->popped = s->pushed;
	s->opaque = 1;
}

SEC("sockops")
int connection(struct bpf_sock_ops *ops)
{
	if (ops->op == BPF_SOCK_OPS_STATE_CB) {
		if (ops->args[1] == BPF_TCP_CLOSE)
			closed(ops);
	} else if (ops->op == (options.client_side ? BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB : BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)) {
		opened(ops);
	}
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
