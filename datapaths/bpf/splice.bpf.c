/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Requests and answers between pods of one node go from socket to socket, and are read on the way.
 *
 * sock_ops puts both ends of a connection into a hash of sockets. What a process sends is shown to a message program, which
 * reads it as HTTP/1.x (the client's end requests, the server's answers) and hands it to the other end's socket: no packets.
 *
 * An end is found by the client's address and port and by the numbers that both directions' bytes began with: both ends know
 * them, whatever a service address was rewritten to in between. The first to act decides: if the server's end comes to be
 * before the client has sent anything, the two are a pair for their whole life; if not, they never are (SPOKE_FIRST). A pair is
 * not read by http.bpf.c, whose maps these programs share; anything else is.
 *
 * Bytes never overtake others: from socket to packets is a step that a direction takes once and for good, when the reader lies
 * too far behind (there is no other flow control) or is gone. What is handed over lands in the reader's queue at once, so
 * packets come behind it. A message that the kernel took in part is shown again by the sender: positions are TCP's own, and what
 * was read is skipped. The sk_skb program, which passes everything, is there because without it the sockets' FIONREAD is wrong.
 */
#define FROM_MESSAGE
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "answers.h"
#include "requests.h"
#include "segments.h"

#define ALLOW 1
#define AF_INET6 10
#define BLOCK_STEPS 512 /* times STEPS: enough for the smallest chunks in a message */
#define MOST_AHEAD (1 << 20) /* bytes handed over since the reader last sent something */

enum side { CLIENT, SERVER, SIDES };
enum state { OPEN, PAIRED, SPOKE };

/* One connection, the same at both ends. */
struct ends {
	struct address client;
	__u32 port; /* of the client */
	__u32 client_first, server_first; /* sequence numbers of the first bytes */
};

struct end {
	struct ends of;
	__u32 side;
};

/* What one side sends. */
struct way {
	__u32 handed; /* bytes handed over; wraps */
	__u32 ahead; /* of these, since the other side last sent */
	__u32 packets; /* from here on by packets only */
};

struct pair {
	struct stream stream;
	struct way ways[SIDES];
	__u32 state;
	__u32 closed; /* one bit a side */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct ends);
	__type(value, struct pair);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 8192);
	__type(key, struct end);
	__type(value, __u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct end);
} own SEC(".maps");

/* Addresses of this node's pods (1), and of services with a pod here behind them (2). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} near SEC(".maps");

enum splice_total { PAIRS, SPOKE_FIRST, NOT_PAIRED, HANDED, HANDED_BYTES, TO_PACKETS, SPLICE_TOTALS };

COUNTERS(splice_totals, SPLICE_TOTALS, tally)

static const struct pair no_pair;

/* ---- messages ---- */

struct tcp_sock {
	__u32 write_seq;
} __attribute__((preserve_access_index));

/* Point h at the part of the message that was not read yet. `at` is the position of its first byte. */
static __always_inline int stand(struct sk_msg_md *msg, struct half *h, __u32 at)
{
	__s32 seen = h->next - at;

	h->position = 0;
	h->end = msg->size;
	if (seen >= 0) {
		if ((__u32)seen >= h->end)
			return USED_UP;
		h->position = seen;
	} else if (!step_over(h, -seen)) {
		return HOLE;
	}
	h->next = at + h->end;
	return AGAIN;
}

#define READ(reader, msg, s, h, at)                                                                                    \
	({                                                                                                             \
		int i, event = stand(msg, h, at);                                                                      \
                                                                                                                       \
		for (i = 0; i < BLOCK_STEPS && event == AGAIN; i++)                                                    \
			event = reader(msg, s);                                                                        \
		if (event != USED_UP)                                                                                  \
			give_up(s, event == HOLE ? HOLES : NOT_HTTP);                                                   \
	})

/* As request_packet and response_packet of http.bpf.c. */
static __always_inline void read(struct sk_msg_md *msg, struct stream *s, __u32 side, __u32 at)
{
	struct half *h = side == CLIENT ? &s->request : &s->response;

	if (s->opaque)
		return;
	if (side == CLIENT) {
		h->now = bpf_ktime_get_ns();
		if (*(volatile __u8 *)&s->tunnel && h->phase != TUNNEL)
			leave_http(h);
		READ(read_request, msg, s, h, at);
	} else {
		READ(read_response, msg, s, h, at);
	}
	if (h->phase == TUNNEL && h->bytes)
		tunnelled(s, h);
}

static __always_inline int hand_over(struct sk_msg_md *msg, struct way *w, struct end *to)
{
	__u32 size = msg->size;

	if (w->packets)
		return SK_PASS;
	if (w->ahead + size > MOST_AHEAD || bpf_msg_redirect_hash(msg, &sockets, to, BPF_F_INGRESS) != SK_PASS) {
		w->packets = 1;
		tally(TO_PACKETS, 1);
		return SK_PASS;
	}
	w->ahead += size;
	w->handed += size;
	tally(HANDED, 1);
	tally(HANDED_BYTES, size);
	return SK_PASS;
}

SEC("sk_msg")
int message(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct end *mine, to;
	struct tcp_sock *tcp;
	struct pair *p;

	if (!sk)
		return SK_PASS;
	mine = bpf_sk_storage_get(&own, sk, 0, 0);
	if (!mine)
		return SK_PASS;
	to = *mine;
	p = bpf_map_lookup_elem(&pairs, &to.of);
	if (!p)
		return SK_PASS;
	if (p->state != PAIRED && (to.side == SERVER || __sync_val_compare_and_swap(&p->state, OPEN, SPOKE) != PAIRED))
		return SK_PASS;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return SK_PASS;
	if (to.side == CLIENT) {
		read(msg, &p->stream, CLIENT, tcp->write_seq + p->ways[CLIENT].handed);
		p->ways[SERVER].ahead = 0;
		to.side = SERVER;
		return hand_over(msg, &p->ways[CLIENT], &to);
	}
	read(msg, &p->stream, SERVER, tcp->write_seq + p->ways[SERVER].handed);
	p->ways[CLIENT].ahead = 0;
	to.side = CLIENT;
	return hand_over(msg, &p->ways[SERVER], &to);
}

SEC("sk_skb/stream_verdict")
int pass(struct __sk_buff *skb)
{
	return SK_PASS;
}

/* ---- connections ---- */

/* Volatile, or clang would choose between two fields' addresses, which the verifier does not allow. */
#define FIELD(name) (*(volatile __u32 *)&ops->name)
#define OVERWRITE(a, side)                                                                                             \
	do {                                                                                                           \
		(a)->part[0] = FIELD(side##_ip6[0]);                                                                   \
		(a)->part[1] = FIELD(side##_ip6[1]);                                                                   \
		(a)->part[2] = FIELD(side##_ip6[2]);                                                                   \
		(a)->part[3] = FIELD(side##_ip6[3]);                                                                   \
	} while (0)

static __always_inline void addresses(struct bpf_sock_ops *ops, struct address *local, struct address *remote)
{
	*local = mapped(FIELD(local_ip4));
	*remote = mapped(FIELD(remote_ip4));
	if (FIELD(family) == AF_INET6) {
		OVERWRITE(local, local);
		OVERWRITE(remote, remote);
	}
}

/* Into the hash of sockets, with the callback for its end; 0 where the kernel did not let it. */
static __always_inline int enter(struct bpf_sock_ops *ops, struct end *e)
{
	struct bpf_sock *sk = ops->sk;

	if (!sk || !bpf_sk_storage_get(&own, sk, e, BPF_SK_STORAGE_GET_F_CREATE))
		return 0;
	if (bpf_sock_hash_update(ops, &sockets, e, BPF_NOEXIST)) {
		bpf_sk_storage_delete(&own, sk);
		return 0;
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	return 1;
}

static __always_inline void connected(struct bpf_sock_ops *ops)
{
	struct end e = { .side = CLIENT };
	struct address to;

	addresses(ops, &e.of.client, &to);
	if (!bpf_map_lookup_elem(&near, &to) || !bpf_map_lookup_elem(&near, &e.of.client))
		return;
	e.of.port = FIELD(local_port);
	e.of.client_first = FIELD(snd_nxt);
	e.of.server_first = FIELD(rcv_nxt);
	if (bpf_map_update_elem(&pairs, &e.of, &no_pair, BPF_NOEXIST)) {
		tally(NOT_PAIRED, 1);
	} else if (!enter(ops, &e)) {
		bpf_map_delete_elem(&pairs, &e.of);
		tally(NOT_PAIRED, 1);
	}
}

/* http.bpf.c has seen nothing of this connection yet, and leaves it from now on. */
static __always_inline struct stream *untouched(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct stream *s = sk ? bpf_sk_storage_get(&streams, sk, 0, 0) : 0;

	return s && !s->opaque && !s->pushed && !s->request.have && s->request.phase == START ? s : 0;
}

static __always_inline void accepted(struct bpf_sock_ops *ops)
{
	struct end e = { .side = SERVER };
	struct address own_address;
	struct stream *s;
	struct pair *p;

	addresses(ops, &own_address, &e.of.client);
	e.of.port = bpf_ntohl(FIELD(remote_port));
	e.of.client_first = FIELD(rcv_nxt);
	e.of.server_first = FIELD(snd_nxt);
	p = bpf_map_lookup_elem(&pairs, &e.of);
	if (!p)
		return;
	s = untouched(ops);
	if (!s || p->state == SPOKE || !enter(ops, &e)) {
		tally(p->state == SPOKE ? SPOKE_FIRST : NOT_PAIRED, 1);
		return;
	}
	p->stream.source = s->source;
	p->stream.destination = s->destination;
	p->stream.request.next = e.of.client_first;
	p->stream.response.next = e.of.server_first;
	s->opaque = 1;
	if (__sync_val_compare_and_swap(&p->state, OPEN, PAIRED) == OPEN) {
		tally(PAIRS, 1);
		return;
	}
	s->opaque = 0;
	tally(SPOKE_FIRST, 1);
}

static __always_inline void finished(struct pair *p)
{
	struct stream *s = &p->stream;

	if (p->state == PAIRED && s->pushed != s->popped)
		count(UNANSWERED, s->pushed - s->popped);
}

/* The server sends no more: an answer that ends with the connection is complete, and so is one whose last bytes were not shown. */
static __always_inline void last_answer(struct bpf_sock *sk, struct pair *p)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct half *h = &p->stream.response;
	__u32 missing = tcp ? tcp->write_seq + p->ways[SERVER].handed - h->next : 0;

	if (p->stream.opaque || h->phase < COUNTED)
		return;
	if (h->phase == TO_CLOSE || (h->phase == COUNTED && (__s32)missing > 0 && missing >= h->left)) {
		record(&p->stream);
		renew(h);
	}
}

static __always_inline void changed(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct end *mine = sk ? bpf_sk_storage_get(&own, sk, 0, 0) : 0;
	struct pair *p;
	struct ends of;
	__u32 bit, was, state = ops->args[1];

	if (!mine)
		return;
	of = mine->of;
	bit = 1 << (mine->side & 1);
	p = bpf_map_lookup_elem(&pairs, &of);
	if (!p)
		return;
	if (bit == 1 << SERVER && (state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSE))
		last_answer(sk, p);
	if (state != BPF_TCP_CLOSE)
		return;
	was = __sync_fetch_and_or(&p->closed, bit);
	if (p->state == PAIRED && was != (3 ^ bit))
		return;
	finished(p);
	bpf_map_delete_elem(&pairs, &of);
}

SEC("sockops")
int connection_of_pair(struct bpf_sock_ops *ops)
{
	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		connected(ops);
	else if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		accepted(ops);
	else if (ops->op == BPF_SOCK_OPS_STATE_CB)
		changed(ops);
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
