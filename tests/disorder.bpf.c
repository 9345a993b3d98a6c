/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* A bad network for tests: of a link's incoming TCP packets with data, some are dropped and some overtaken by others.
 *
 * Overtaken: the packet is sent to the same link's ingress once more, where it queues behind those that came with it. A
 * mark tells that it has been there. For kernels without the qdisc netem.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define BEEN_HERE 0x6d657368

/* One packet in so many; 0: none. Set before loading. */
const volatile struct {
	__u32 drop, delay;
} options SEC(".rodata.options") = { 50, 20 };

enum total { DROPPED, DELAYED, TOTALS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

static __always_inline int happens(__u32 one_in, __u32 which)
{
	__u64 *total;

	if (!one_in || bpf_get_prandom_u32() % one_in)
		return 0;
	total = bpf_map_lookup_elem(&totals, &which);
	if (total)
		__sync_fetch_and_add(total, 1);
	return 1;
}

SEC("tc")
int disorder(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *link = data;
	struct iphdr *ip = (void *)(link + 1);

	if ((void *)(ip + 1) > end || link->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	if (skb->mark == BEEN_HERE) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	if (happens(options.drop, DROPPED))
		return TC_ACT_SHOT;
	if (happens(options.delay, DELAYED)) {
		skb->mark = BEEN_HERE;
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	}
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
