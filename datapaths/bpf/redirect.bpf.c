/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* A pod's connections to the mesh's services go to the proxy of its node, and neither side can tell.
 *
 * connect4 (pod) changes the destination before a packet exists. sock_ops (pod) notes, once the socket has a port of its
 * own and before anything is sent, where it wanted to go. getsockopt (proxy) answers SO_ORIGINAL_DST from that note, as
 * netfilter would after a REDIRECT. getpeername4 (pod) tells the application the address that it asked for.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "counters.h"

#define ALLOW 1
#define AF_INET 2
#define SOL_IP 0
#define SO_ORIGINAL_DST 80

/* All of these in network byte order. */
struct place {
	__u32 address;
	__u16 port;
	__u16 zero;
};

struct original {
	__u16 family;
	__u16 port;
	__u32 address;
	__u8 zero[8];
}; /* struct sockaddr_in */

/* Set by the agent before loading. */
const volatile struct {
	struct place proxy;
} options SEC(".rodata.options") = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct place);
	__type(value, __u32);
} services SEC(".maps");

/* Where a redirected socket of a pod wanted to go; goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct place);
} wanted SEC(".maps");

/* The same by the client's end of the connection, which is what the proxy sees of it. The proxy asks when it accepts, so
 * an entry pushed out by a newer one is not missed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct place);
	__type(value, struct place);
} originals SEC(".maps");

enum total { REDIRECTED, ANSWERED, NOT_FOUND, TOTALS };

COUNTERS(totals, TOTALS, count)

SEC("cgroup/connect4")
int redirect(struct bpf_sock_addr *ctx)
{
	struct place to = { ctx->user_ip4, ctx->user_port, 0 }, *kept;
	struct bpf_sock *sk = ctx->sk;

	if (ctx->protocol != IPPROTO_TCP || !sk)
		return ALLOW;
	if (!bpf_map_lookup_elem(&services, &to)) {
		bpf_sk_storage_delete(&wanted, sk); /* the socket may be connecting for the second time */
		return ALLOW;
	}
	kept = bpf_sk_storage_get(&wanted, sk, &to, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		return 0; /* fail closed: what the mesh is to carry must not pass beside it */
	*kept = to;
	ctx->user_ip4 = options.proxy.address;
	ctx->user_port = options.proxy.port;
	count(REDIRECTED, 1);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int peer_name(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct place *to = sk ? bpf_sk_storage_get(&wanted, sk, 0, 0) : 0;

	if (to && ctx->user_ip4 == options.proxy.address && ctx->user_port == options.proxy.port) {
		ctx->user_ip4 = to->address;
		ctx->user_port = to->port;
	}
	return ALLOW;
}

SEC("sockops")
int note(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct place client = { ops->local_ip4, bpf_htons(ops->local_port), 0 }, *to;

	if (ops->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ops->op != BPF_SOCK_OPS_STATE_CB)
		return ALLOW;
	to = sk ? bpf_sk_storage_get(&wanted, sk, 0, 0) : 0;
	if (!to)
		return ALLOW;
	if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		bpf_map_update_elem(&originals, &client, to, BPF_ANY);
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	} else if (ops->args[1] == BPF_TCP_CLOSE) {
		bpf_map_delete_elem(&originals, &client);
	}
	return ALLOW;
}

SEC("cgroup/getsockopt")
int original_destination(struct bpf_sockopt *ctx)
{
	struct original *answer = ctx->optval;
	struct bpf_sock *sk = ctx->sk;
	struct place client = {}, *to;

	if (ctx->level != SOL_IP || ctx->optname != SO_ORIGINAL_DST || !sk)
		return ALLOW;
	if ((void *)(answer + 1) > ctx->optval_end)
		return ALLOW;
	client.address = sk->dst_ip4;
	client.port = sk->dst_port;
	to = bpf_map_lookup_elem(&originals, &client);
	if (!to) {
		count(NOT_FOUND, 1);
		return ALLOW;
	}
	*answer = (struct original){ AF_INET, to->port, to->address, {} };
	*(volatile __s32 *)&ctx->optlen = sizeof(*answer); /* volatile, or clang makes one store of two */
	*(volatile __s32 *)&ctx->retval = 0;
	count(ANSWERED, 1);
	return ALLOW;
}

char _license[] SEC("license") = "GPL";
