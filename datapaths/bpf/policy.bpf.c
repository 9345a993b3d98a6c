/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Policy by identity, for connections (L3/L4) and for HTTP/1.x requests (L7): only what a rule allows reaches the server.
 *
 * The server's side guarantees it. cgroup_skb sees every packet of a pod's socket before TCP does. On connections to a
 * destination under L7 policy it takes bytes in their order only: a packet that comes too early is dropped, TCP sends it
 * again. A packet with a byte that is refused is dropped and the connection poisoned: no more of it ever passes. A start
 * line is refused at the first byte that no allowed line has there, so what a server can have of a denied request is at
 * most the beginning of an allowed one. Packets with urgent data, data with a SYN, and connections whose beginning was
 * not seen are refused. Framing is strict, because servers differ in what they make of the rest (fixed.py, judge.h).
 *
 * The client's side (messages.h) is there for the caller: a 403 instead of silence. Only one thing depends on it: between
 * pods of one kernel, a packet can hold pages that the sender still has (vmsplice, splice and sendfile of a file that is
 * written to, MSG_ZEROCOPY), and a sender that writes to them behind the judgement and before the server's read() changes
 * what was judged. This hook is not told which pages are shared and cannot count them. sk_msg copies what is sent, so
 * with the client's side on there is nothing to change; nor is there where packets cross a real wire. With the server's
 * side alone, pods of one kernel that do this are not held back.
 *
 * This is a program of its own and not a part of http.bpf.c: that parser is made to understand what servers accept, this
 * one to refuse what two servers could understand differently, and who only watches is not to pay for it.
 */
#include <linux/bpf.h>
#include "flows.h"
#include "messages.h"

char _license[] SEC("license") = "GPL";

/* Too early, the end of a head that is not complete, or bytes that were judged before: what is to be done without reading. */
static __always_inline int out_of_place(struct flow *f, const struct segment *g, __u32 accepted, __u32 size)
{
	__s32 seen = f->next - g->sequence;

	if (seen < 0) {
		count(EARLY, 1);
		return 1;
	}
	/* Judged, not accepted by TCP, and sent anew: spliced pages may say something else by now. */
	if (size && (__s32)(f->judged - accepted) > 0 && (__s32)(f->judged - g->sequence) > 0 &&
	    (__s32)(g->sequence + size - accepted) > 0)
		return -RESENT - 1;
	return 0;
}

/* Read until a head or the text ends, and load more text. MORE: to be called again. */
ALONE int read_piece(struct __sk_buff *skb, struct flow *f, int enforce)
{
	struct judge *j;
	int event;

	if (!f)
		return REFUSE;
	j = &f->request;
	event = read_text(j);
	if (event == BODY)
		pass_over(j);
	if (event == HEAD_READ) {
		if (!(j->flags & REFUSED))
			count(ALLOWED, 1);
		else if (enforce)
			return refuse(j, RULE);
		else
			count(AUDITED + RULE, 1);
	}
	if (event == REFUSE)
		return REFUSE;
	if (j->at < j->have)
		return MORE;
	if (j->position >= j->end)
		return BLOCK_END;
	if (event != BLOCK_END)
		return MORE; /* what comes next may be a body, to be passed over */
	f->loaded = 1;
	return load_packet(skb, j) ? refuse(j, MALFORMED) : MORE;
}

ALONE int read_packet(struct __sk_buff *skb, struct flow *f, int enforce)
{
	int i, event;

	if (!f)
		return REFUSE;
	for (i = 0; i < MOST_BLOCKS; i++) {
		event = read_piece(skb, f, enforce);
		if (event != MORE)
			return event;
	}
	return refuse(&f->request, TOO_LONG);
}

/* Is this direction in the middle of a head? */
static __always_inline int in_head(const struct judge *j)
{
	return j->state != BETWEEN && !j->skip && !(j->flags & IN_CHUNKS);
}

static __always_inline int poison(struct flow *f, __u32 why, int enforce)
{
	if (why >= REASONS)
		why = MALFORMED;
	if (!enforce) {
		count(AUDITED + why, 1);
		f->opaque = 1;
		return ALLOW;
	}
	f->poisoned = 1;
	count(DENIED + why, 1);
	count(POISONED, 1);
	return DROP;
}

static __always_inline int request_packet(struct __sk_buff *skb, const struct segment *g, struct flow *f, __u32 accepted,
					  int enforce)
{
	__u32 size = skb->len - g->payload;
	struct judge *j = &f->request;
	int event = BLOCK_END, place;

	place = out_of_place(f, g, accepted, size);
	if (place > 0)
		return DROP; /* when auditing too, or what was passed unread would never be read */
	if (place < 0)
		return poison(f, -place - 1, enforce);
	if (stale(j))
		return poison(f, STALE, enforce);
	f->loaded = 0;
	if ((__s32)(g->sequence + size - f->next) > 0) {
		j->strict = enforce;
		j->position = g->payload + (f->next - g->sequence);
		j->end = skb->len;
		event = read_packet(skb, f, enforce);
	}
	if (event == REFUSE)
		return poison(f, j->reason, enforce);
	if (g->finished && in_head(j))
		return poison(f, UNFINISHED, enforce);
	if ((__s32)(g->sequence + size - f->next) > 0)
		f->next = g->sequence + size;
	if (f->loaded)
		f->judged = f->next;
	return ALLOW;
}

/* A packet of a connection under L7 policy. */
ALONE int governed(struct __sk_buff *skb, const struct segment *g, struct flow *f, __u32 accepted, int enforce)
{
	int verdict = DROP;

	if (!g || !f)
		return DROP;
	if (skb->len <= g->payload && !g->finished && !g->urgent)
		return ALLOW; /* an acknowledgement, or a reset */
	if (f->poisoned) {
		count(LATE, 1);
		return DROP;
	}
	if (f->opaque)
		return ALLOW;
	if (!take(f))
		return DROP;
	if (g->urgent)
		verdict = poison(f, URGENT, enforce);
	else
		verdict = request_packet(skb, g, f, accepted, enforce);
	__sync_lock_test_and_set(&f->busy, 0);
	return verdict;
}

/* What comes to a listening socket: is the connection allowed, and does it bring data before it is a socket? */
static __always_inline int knock(struct __sk_buff *skb, const struct segment *g, const struct settings *set, __u32 now,
				 __u32 source, __u32 destination)
{
	struct flow *f;

	if (g->opening && set->connections && !permitted(set, source, destination, now & 1, g->ends.server_port)) {
		count((set->enforce ? DENIED : AUDITED) + CONNECTION, 1);
		if (set->enforce)
			return DROP;
	}
	if (skb->len <= g->payload || !start(source, destination, now & 1))
		return ALLOW;
	if (g->opening)
		return set->enforce ? DROP : ALLOW; /* TCP Fast Open; the client goes on without */
	f = bpf_map_lookup_elem(&early, &g->ends);
	if (!f || f->first != g->sequence) {
		bpf_map_update_elem(&early, &g->ends, &no_flow, BPF_ANY);
		f = bpf_map_lookup_elem(&early, &g->ends);
		if (!f) {
			count(DENIED + NO_MEMORY, 1);
			return DROP;
		}
		f->first = g->sequence;
		begin_flow(f, source, destination, g->sequence);
	}
	return governed(skb, g, f, g->sequence + (skb->len - g->payload), set->enforce);
}

/* The first packet that a socket sees. */
static __always_inline struct flow *new_flow(struct bpf_sock *sk, const struct segment *g, __u32 source, __u32 destination)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct flow *f, *begun;

	if (!tcp)
		return 0;
	begun = bpf_map_lookup_elem(&early, &g->ends);
	if (begun && begun->next == tcp->rcv_nxt) {
		f = bpf_sk_storage_get(&flows, sk, begun, BPF_SK_STORAGE_GET_F_CREATE);
		bpf_map_delete_elem(&early, &g->ends);
		if (f)
			f->busy = 0;
		count(OPENED, 1);
		return f;
	}
	f = bpf_sk_storage_get(&flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!f)
		return 0;
	begin_flow(f, source, destination, tcp->rcv_nxt);
	count(OPENED, 1);
	if (tcp->bytes_received)
		f->unseen = 1;
	return f;
}

static __always_inline int verdict(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	const struct settings *set;
	struct bpf_tcp_sock *tcp;
	__u32 now, source, destination;
	struct segment g;
	struct flow *f;

	if (!sk)
		return ALLOW;
	f = bpf_sk_storage_get(&flows, sk, 0, 0);
	if (!f && !options.server)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return ALLOW;
	now = current();
	set = rules_now(now);
	if (!set || !segment_of(skb, &g))
		return DROP;
	if (f && f->client) {
		answer_packet(skb, &g, f);
		return ALLOW;
	}
	if (!options.server || g.loopback)
		return ALLOW;
	source = f ? f->request.source : identity(&g.ends.client, now & 1);
	destination = f ? f->request.destination : identity(&g.ends.server, now & 1);
	if (sk->state == BPF_TCP_LISTEN)
		return knock(skb, &g, set, now, source, destination);
	if (!f) {
		if (sk->state == BPF_TCP_SYN_SENT || !start(source, destination, now & 1))
			return ALLOW;
		if (skb->len <= g.payload && !g.finished && !g.urgent)
			return ALLOW;
		f = new_flow(sk, &g, source, destination);
		if (!f) {
			count((set->enforce ? DENIED : AUDITED) + NO_MEMORY, 1);
			return set->enforce ? DROP : ALLOW;
		}
		if (f->unseen)
			return poison(f, UNSEEN, set->enforce);
	}
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return DROP;
	return governed(skb, &g, f, tcp->rcv_nxt, set->enforce);
}

SEC("cgroup_skb/ingress")
int policy_in(struct __sk_buff *skb)
{
	return verdict(skb) == ALLOW; /* a verified function may return anything; a program of this kind 0 or 1 */
}
