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
 * The two directions share little, because they run at once: outgoing packets under the socket's lock, incoming ones
 * before it is taken. Requests hand over to answers through a ring that one writes and the other reads. Two processors
 * may hold incoming packets of one connection; the second waits (`busy`).
 *
 * The duration of a request is from the packet with its first byte to the packet with the last byte of its answer.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "counts.h"
#include "lines.h"
#include "stream.h"

#define ALLOW 1
#define AF_INET 2
#define AF_INET6 10
#define STEPS 128 /* steps of one verified loop; BLOCK_STEPS of them are enough for the smallest chunks in 64 KB */
#define BLOCK_STEPS 512
#define PATIENCE 4096

/* Set by the agent before loading. */
const volatile struct {
	__u32 client_side; /* watch the pod's outgoing connections, not those it accepts */
	__u32 most_routes;
} options SEC(".rodata.options") = { 0, 1024 };

static const struct metric no_metric;
static const struct stream no_stream;
__u32 routes_given = FEW;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} streams SEC(".maps");

struct tuple {
	__u32 client, server; /* network byte order */
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
	__type(key, __u32); /* address, network byte order */
	__type(value, __u32);
} identities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct route);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, struct key);
	__type(value, struct metric);
} metrics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

/* Atomic although per processor: a softirq may count in the middle of a process's counting. */
static __always_inline void count(__u32 which, __u64 by)
{
	__u64 *total = bpf_map_lookup_elem(&totals, &which);

	if (total)
		__sync_fetch_and_add(total, by);
}

static __always_inline void give_up(struct stream *s, __u32 why)
{
	if (!s->opaque) {
		s->opaque = 1;
		count(why, 1);
	}
}

/* ---- requests ---- */

static __always_inline __u32 named(__u64 first, __u32 *length)
{
#define IS(text, n, id)                                                                                                \
	if ((first & FIRST(n)) == (text)) {                                                                            \
		*length = (n) - 1;                                                                                     \
		return id;                                                                                             \
	}
	IS(WORD('G', 'E', 'T', ' ', 0, 0, 0, 0), 4, GET)
	IS(WORD('P', 'O', 'S', 'T', ' ', 0, 0, 0), 5, POST)
	IS(WORD('P', 'U', 'T', ' ', 0, 0, 0, 0), 4, PUT)
	IS(WORD('H', 'E', 'A', 'D', ' ', 0, 0, 0), 5, HEAD_METHOD)
	IS(WORD('D', 'E', 'L', 'E', 'T', 'E', ' ', 0), 7, DELETE)
	IS(WORD('P', 'A', 'T', 'C', 'H', ' ', 0, 0), 6, PATCH)
	IS(WORD('T', 'R', 'A', 'C', 'E', ' ', 0, 0), 6, TRACE)
#undef IS
	*length = 7;
	if (first == WORD('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return OPTIONS;
	if (first == WORD('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return CONNECT;
	return OTHER_METHOD;
}

/* The length of a method that has no number here: capitals and hyphens before the first space; 0 where it is none. */
ALONE int other_method(struct half *h)
{
	__u32 i, at;

	if (!h)
		return 0;
	at = h->cursor;
	for (i = 0; i < 24; i++) {
		char c = h->text[(at + i) & (TEXT - 1)];

		if (c == ' ')
			return i;
		if ((c < 'A' || c > 'Z') && c != '-')
			return 0;
	}
	return 0;
}

/* Fill in the path that stands at [at, end), cut at its query; BAD where a space is in it. */
static __always_inline int path(const struct half *h, __u32 at, __u32 end, struct route *route)
{
	__u64 *to = (__u64 *)route->path;
	__u32 i, length = end - at, over = 0;

	route->cut = length > PATH;
#pragma unroll
	for (i = 0; i < PATH / 8; i++) {
		__u64 w = 0, query, space;

		if (!over && i * 8 < length) {
			w = word(h, at + i * 8);
			if (length - i * 8 < 8)
				w &= FIRST((length - i * 8) & 7);
			query = equal(w, '?');
			space = equal(w, ' ');
			if (query)
				w &= FIRST(lowest(query) & 7);
			if (space && (!query || lowest(space) < lowest(query)))
				return BAD;
			if (query) {
				over = 1;
				route->cut = 0;
			}
		}
		to[i] = w;
	}
	return AGAIN;
}

/* The number of a route; a new one gets the next, and when there are none left the number of its method alone. */
static __always_inline __u32 numbered(const struct route *route)
{
	__u32 number, *known = bpf_map_lookup_elem(&routes, route);

	if (known)
		return *known;
	if (routes_given >= options.most_routes + FEW)
		return route->method;
	number = __sync_fetch_and_add(&routes_given, 1);
	if (number >= options.most_routes + FEW)
		return route->method;
	if (!bpf_map_update_elem(&routes, route, &number, BPF_NOEXIST))
		return number;
	known = bpf_map_lookup_elem(&routes, route); /* another processor was faster, or there is no room */
	return known ? *known : route->method;
}

ALONE int request_line(struct half *h)
{
	struct route route;
	__u32 length, at, size, end, target;
	__u64 version;

	if (!h)
		return BAD;
	length = line_length(h);
	at = h->cursor;
	h->cursor = h->stop + 1;
	if (!length) { /* an empty line before a request is let pass (RFC 9112, 2.2) */
		renew(h);
		return AGAIN;
	}
	end = at + length - 9;
	if (at > FULL || length < 14 || end > FULL)
		return BAD;
	version = word(h, end + 1);
	if (h->text[end] != ' ' || (version & FIRST(7)) != WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) ||
	    version >> 56 < '0' || version >> 56 > '9')
		return BAD;
	route.method = named(word(h, at), &size);
	if (route.method == OTHER_METHOD) {
		h->cursor = at;
		size = other_method(h);
		h->cursor = h->stop + 1;
		if (!size || size > 24)
			return BAD;
	}
	target = at + size + 1;
	if (target >= end || target > FULL || path(h, target, end, &route) == BAD)
		return BAD;
	h->method = route.method;
	h->route = numbered(&route);
	h->phase = FIELDS;
	h->squeezed = 0;
	return AGAIN;
}

static __always_inline int request_head(struct stream *s)
{
	struct half *h = &s->request;
	__u32 pushed = s->pushed;
	struct waiting *w = &s->waiting[pushed & (DEPTH - 1)];

	count(REQUESTS, 1);
	if (s->deaf || pushed - *(volatile __u32 *)&s->popped >= DEPTH) {
		s->deaf = 1;
		count(UNTOLD, 1);
		count(UNANSWERED, 1);
	} else {
		w->began = h->began;
		w->route = h->route;
		w->method = h->method;
		__sync_fetch_and_add(&s->pushed, 1); /* after its contents, on every processor */
	}
	return h->chunked == UNKNOWN_CODING ? BAD : body(h);
}

ALONE int read_request(struct __sk_buff *skb, struct stream *s)
{
	struct half *h;
	int i, event;

	if (!s)
		return BAD;
	h = &s->request;
	for (i = 0; i < STEPS; i++) {
		event = advance(skb, h);
		if (event == LINE)
			event = h->phase == START ? request_line(h) : later_line(h);
		if (event == HEAD)
			event = request_head(s);
		if (event == BODY_END) {
			renew(h);
			event = AGAIN;
		}
		if (event != AGAIN)
			return event;
	}
	return AGAIN;
}

/* ---- answers ---- */

ALONE int status_line(struct half *h)
{
	__u32 at, length, i, status = 0;
	__u64 version;

	if (!h)
		return BAD;
	length = line_length(h);
	at = h->cursor;
	h->cursor = h->stop + 1;
	if (at > FULL || length < 12)
		return length ? BAD : AGAIN;
	version = word(h, at);
	if ((version & FIRST(7)) != WORD('H', 'T', 'T', 'P', '/', '1', '.', 0) || h->text[at + 8] != ' ')
		return BAD;
	for (i = 9; i < 12; i++) {
		__u32 digit = (__u8)h->text[at + i] - '0';

		if (digit > 9)
			return BAD;
		status = status * 10 + digit;
	}
	h->status = status;
	h->phase = FIELDS;
	h->squeezed = 0;
	return AGAIN;
}

static __always_inline struct metric *metric_of(struct key *key)
{
	struct metric *m = bpf_map_lookup_elem(&metrics, key);

	if (m)
		return m;
	bpf_map_update_elem(&metrics, key, &no_metric, BPF_NOEXIST);
	m = bpf_map_lookup_elem(&metrics, key);
	if (m)
		return m;
	count(NO_ROOM, 1);
	key->source = key->destination = NOBODY; /* the agent has put these in, one for each class of status */
	key->route = OTHER_METHOD;
	key->status = key->status / 100 * 100;
	return bpf_map_lookup_elem(&metrics, key);
}

/* An answer is complete: count it for the request that has waited longest. */
ALONE int record(struct stream *s)
{
	struct metric *m;
	struct waiting *w;
	struct key key;
	__u64 ns;

	if (!s)
		return 0;
	w = &s->waiting[s->popped & (DEPTH - 1)];
	key.source = s->source;
	key.destination = s->destination;
	key.route = w->route;
	key.status = s->response.status;
	ns = bpf_ktime_get_ns() - w->began;
	m = metric_of(&key);
	if (m) {
		__u32 i = bucket(ns);

		__sync_fetch_and_add(&m->count, 1);
		__sync_fetch_and_add(&m->bytes, s->response.bytes);
		__sync_fetch_and_add(&m->duration_ns, ns);
		if (i < BUCKETS)
			__sync_fetch_and_add(&m->buckets[i], 1);
	}
	count(ANSWERED, 1);
	__sync_fetch_and_add(&s->popped, 1);
	return 0;
}

static __always_inline int became_opaque(struct stream *s)
{
	record(s);
	give_up(s, UPGRADED);
	return USED_UP;
}

static __always_inline int response_head(struct stream *s)
{
	struct half *h = &s->response;
	__u32 method, status = h->status;

	if (status < 200 && status != 101) {
		renew(h);
		return AGAIN;
	}
	if (s->popped == *(volatile __u32 *)&s->pushed)
		return BAD; /* an answer that nothing asked for, or to a request whose head was refused halfway */
	method = s->waiting[s->popped & (DEPTH - 1)].method;
	if (status == 101 || (method == CONNECT && status < 300))
		return became_opaque(s);
	if (method == HEAD_METHOD || status == 204 || status == 304)
		return BODY_END;
	if (h->chunked == CHUNKED || (h->counted && !h->chunked))
		return body(h);
	h->phase = TO_CLOSE;
	unread(h);
	return AGAIN;
}

ALONE int read_response(struct __sk_buff *skb, struct stream *s)
{
	struct half *h;
	int i, event;

	if (!s)
		return BAD;
	h = &s->response;
	for (i = 0; i < STEPS; i++) {
		event = advance(skb, h);
		if (event == LINE)
			event = h->phase == START ? status_line(h) : later_line(h);
		if (event == HEAD)
			event = response_head(s);
		if (event == BODY_END) {
			record(s);
			renew(h);
			event = AGAIN;
		}
		if (event != AGAIN)
			return event;
	}
	return AGAIN;
}

/* ---- packets ---- */

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
	if (h->phase != TO_CLOSE) {
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
			give_up(s, event == HOLE ? HOLES : NOT_HTTP);                                                                        \
		event;                                                                                                 \
	})

static __always_inline void request_packet(struct __sk_buff *skb, const struct segment *g, struct stream *s)
{
	struct half *h = &s->request;

	take(h);
	h->now = bpf_ktime_get_ns();
	READ(read_request, skb, g, s, h);
	__sync_lock_test_and_set(&h->busy, 0);
}

static __always_inline void response_packet(struct __sk_buff *skb, const struct segment *g, struct stream *s)
{
	struct half *h = &s->response;
	int event;

	take(h);
	event = READ(read_response, skb, g, s, h);
	if (g->finished && h->phase == TO_CLOSE && event == USED_UP) {
		record(s);
		renew(h);
	}
	__sync_lock_test_and_set(&h->busy, 0);
}

/* A listening socket's packet with data: its connection becomes a socket only after this program has run. */
static __always_inline struct stream *early_stream(const struct segment *g)
{
	struct stream *s = bpf_map_lookup_elem(&early, &g->ends);

	if (s && s->first == g->sequence)
		return s;
	bpf_map_update_elem(&early, &g->ends, &no_stream, BPF_ANY);
	s = bpf_map_lookup_elem(&early, &g->ends);
	if (s)
		s->first = s->request.next = g->sequence;
	return s;
}

static __always_inline int listens(struct bpf_sock *sk)
{
	sk = bpf_sk_fullsock(sk);
	return sk && sk->state == BPF_TCP_LISTEN;
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
	if (!segment_of(skb, &g) || (skb->len <= g.payload && !g.finished))
		return ALLOW;
	if (!s && skb->len > g.payload)
		s = early_stream(&g);
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
	if (!s || s->opaque || !segment_of(skb, &g) || (skb->len <= g.payload && !g.finished))
		return ALLOW;
	if (options.client_side)
		request_packet(skb, &g, s);
	else
		response_packet(skb, &g, s);
	return ALLOW;
}

/* ---- connections ---- */

static __always_inline int watched(struct bpf_sock_ops *ops)
{
	if (ops->family == AF_INET6 &&
	    (ops->local_ip6[0] || ops->local_ip6[1] || ops->local_ip6[2] != bpf_htonl(0xffff)))
		return 0;
	return (ops->remote_ip4 & bpf_htonl(0xff000000)) != bpf_htonl(0x7f000000);
}

static __always_inline __u32 identity(__u32 address)
{
	__u32 *id = bpf_map_lookup_elem(&identities, &address);

	return id ? *id : 0;
}

/* Volatile, or clang would choose between two fields' addresses, which the verifier does not allow. */
#define FIELD(name) (*(volatile __u32 *)&ops->name)

static __always_inline void opened(struct bpf_sock_ops *ops)
{
	__u32 remote = FIELD(remote_ip4), local = FIELD(local_ip4), sent = FIELD(snd_nxt), received = FIELD(rcv_nxt);
	struct tuple ends = { remote, local, ops->remote_port >> 16, bpf_htons(ops->local_port) };
	struct bpf_sock *sk = ops->sk;
	struct stream *s, *begun;

	if (!sk || !watched(ops))
		return;
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
		s->source = identity(options.client_side ? local : remote);
		s->destination = identity(options.client_side ? remote : local);
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
