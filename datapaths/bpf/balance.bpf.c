// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/* Services balanced at the socket: where a pod's socket wants a service, it gets one of the service's endpoints, before
 * a packet exists. So no packet need be rewritten, and no connection be tracked, on the way.
 *
 * connect4/6 choose an endpoint and keep the choice with the socket; getpeername4/6 answer with the service from it.
 * UDP sockets that are not connected are balanced by sendmsg4/6, one choice for each service that a socket talks to, and
 * recvmsg4/6 let the answer come from the service. After the choice, and also where there was none to make, the policy
 * of permit.h is asked. The kernel holds the socket's lock around all of these but tells a TCP socket nothing when it
 * disconnects: what is kept counts only while the socket's peer is still the endpoint in it. */
#include <linux/in.h>
#include "counters.h"
#include "permit.h"
#include "services.h"
#include "kept.h"

#define PASS 1
#define REFUSE 0 /* without another reason the kernel says EPERM */
#define ENOMEM 12
#define ECONNREFUSED 111

/* Set by the agent before loading. */
const volatile struct {
	__u32 reasons; /* the kernel has bpf_set_retval (5.18) */
} options SEC(".rodata.options") = {};

/* As in balance.py. */
enum total {
	BALANCED,
	TALKED,
	MOVED,
	FORGOTTEN,
	NO_ENDPOINT,
	NO_MEMORY,
	PERMITTED,
	REFUSED_NO_RULE,
	REFUSED_UNKNOWN,
	AUDITED_NO_RULE,
	AUDITED_UNKNOWN,
	TOTALS
};

COUNTERS(totals, TOTALS, count)

static __always_inline int refuse(enum total why, int error)
{
	count(why, 1);
	if (options.reasons)
		bpf_set_retval(-error);
	return REFUSE;
}

static __always_inline bool permitted(struct place *to, __u8 bank)
{
	__u32 which = bank;
	struct settings *set = bpf_map_lookup_elem(&settings, &which);
	struct pod *own = bpf_get_local_storage(&pods, 0);
	enum verdict verdict;

	if (!set)
		return false;
	if (set->mode == OFF || is_loopback(to) || same_address(own->address, to->address))
		return true;
	verdict = judge(set, own, to, bank);
	if (verdict == ALLOWED)
		count(PERMITTED, 1);
	else if (set->mode == AUDIT)
		count(verdict == NO_RULE ? AUDITED_NO_RULE : AUDITED_UNKNOWN, 1);
	else
		count(verdict == NO_RULE ? REFUSED_NO_RULE : REFUSED_UNKNOWN, 1);
	return verdict == ALLOWED || set->mode == AUDIT;
}

/* A socket connects: `to` is where it wants to go, and then where it goes. */
static __always_inline int connecting(struct bpf_sock_addr *ctx, struct place *to)
{
	struct flow made = { .generation = now() }, *kept;
	__u8 bank = made.generation & 1;
	struct service *service = find(to, bank);

	made.service = *to;
	if (service && !choose(service, to))
		return refuse(NO_ENDPOINT, ECONNREFUSED);
	if (!permitted(to, bank))
		return REFUSE;
	if (!service) {
		bpf_sk_storage_delete(&connections, ctx->sk); /* it may be connecting for the second time */
		return PASS;
	}
	made.endpoint = *to;
	kept = bpf_sk_storage_get(&connections, ctx->sk, &made, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept)
		return refuse(NO_MEMORY, ENOMEM);
	*kept = made;
	count(BALANCED, 1);
	return PASS;
}

static __always_inline bool remember(struct bpf_sock_addr *ctx, struct talks *talks, struct flow *old,
				     const struct flow *made)
{
	if (!talks) {
		talks = bpf_sk_storage_get(&conversations, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!talks)
			return false;
	}
	count(old ? MOVED : TALKED, 1);
	if (!old) {
		old = &talks->flow[talks->next++ % TALKS];
		if (old->service.protocol)
			count(FORGOTTEN, 1);
	}
	*old = *made;
	return true;
}

/* A datagram leaves a socket that is not connected, or for another place than it is connected to. */
static __always_inline int sending(struct bpf_sock_addr *ctx, struct place *to)
{
	struct flow made = { .generation = now() }, *flow = 0;
	__u8 bank = made.generation & 1;
	struct service *service = find(to, bank);
	struct talks *talks;

	if (!service)
		return permitted(to, bank) ? PASS : REFUSE;
	made.service = *to;
	talks = bpf_sk_storage_get(&conversations, ctx->sk, 0, 0);
	if (talks)
		flow = talk_to(talks, &made.service);
	if (flow && (flow->generation == made.generation || is_member(&made.service, &flow->endpoint))) {
		*to = flow->endpoint;
		flow->generation = made.generation;
		return permitted(to, bank) ? PASS : REFUSE;
	}
	if (!choose(service, to))
		return refuse(NO_ENDPOINT, ECONNREFUSED);
	if (!permitted(to, bank))
		return REFUSE;
	made.endpoint = *to;
	return remember(ctx, talks, flow, &made) ? PASS : refuse(NO_MEMORY, ENOMEM);
}

/* The service behind which a connected socket's peer stands. */
static __always_inline bool peer(struct bpf_sock_addr *ctx, struct place *from)
{
	struct flow *kept = bpf_sk_storage_get(&connections, ctx->sk, 0, 0);

	if (!kept || !same(&kept->endpoint, from))
		return false;
	*from = kept->service;
	return true;
}

/* The service that a datagram from `from` answers for. */
static __always_inline bool sender(struct bpf_sock_addr *ctx, struct place *from)
{
	struct talks *talks;
	struct flow *flow;

	if (peer(ctx, from))
		return true;
	talks = bpf_sk_storage_get(&conversations, ctx->sk, 0, 0);
	if (!talks)
		return false;
	flow = talk_with(talks, from);
	if (flow)
		*from = flow->service;
	return flow;
}

#define PLACE4(ctx, proto) { { 0, 0, bpf_htonl(0xffff), (ctx)->user_ip4 }, (ctx)->user_port, proto, 0 }
#define PLACE6(ctx, proto) \
	{ { (ctx)->user_ip6[0], (ctx)->user_ip6[1], (ctx)->user_ip6[2], (ctx)->user_ip6[3] }, (ctx)->user_port, proto, 0 }

static __always_inline void put4(struct bpf_sock_addr *ctx, const struct place *p)
{
	ctx->user_ip4 = p->address[3];
	ctx->user_port = p->port;
}

static __always_inline void put6(struct bpf_sock_addr *ctx, const struct place *p)
{
	ctx->user_ip6[0] = p->address[0];
	ctx->user_ip6[1] = p->address[1];
	ctx->user_ip6[2] = p->address[2];
	ctx->user_ip6[3] = p->address[3];
	ctx->user_port = p->port;
}

/* One program for each hook and each version of IP; the verifier wants their fields of the context apart. */
#define GOING(name, section, version, step)                            \
	SEC(section) int name(struct bpf_sock_addr *ctx)               \
	{                                                              \
		struct place to = PLACE##version(ctx, ctx->protocol);  \
                                                                       \
		if (!ctx->sk || step(ctx, &to) == REFUSE)              \
			return REFUSE;                                 \
		if (to.protocol != ctx->protocol) /* an endpoint */    \
			put##version(ctx, &to);                        \
		return PASS;                                           \
	}

#define COMING(name, section, version, step)                           \
	SEC(section) int name(struct bpf_sock_addr *ctx)               \
	{                                                              \
		struct place from = PLACE##version(ctx, 0);            \
                                                                       \
		if (ctx->sk && step(ctx, &from))                       \
			put##version(ctx, &from);                      \
		return PASS;                                           \
	}

GOING(connect4, "cgroup/connect4", 4, connecting)
GOING(connect6, "cgroup/connect6", 6, connecting)
GOING(sendmsg4, "cgroup/sendmsg4", 4, sending)
GOING(sendmsg6, "cgroup/sendmsg6", 6, sending)
COMING(getpeername4, "cgroup/getpeername4", 4, peer)
COMING(getpeername6, "cgroup/getpeername6", 6, peer)
COMING(recvmsg4, "cgroup/recvmsg4", 4, sender)
COMING(recvmsg6, "cgroup/recvmsg6", 6, sender)

char _license[] SEC("license") = "GPL";
