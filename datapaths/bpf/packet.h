/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Where bytes come from: a packet (cgroup_skb), what a process sends (sk_msg, -DFROM_MESSAGE), or memory (-DFROM_MEMORY,
 * outside the kernel). The parser knows only PACKET and copy_bytes.
 */
#ifndef PACKET_H
#define PACKET_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef FROM_MEMORY
#include <string.h>
struct memory {
	const char *data;
	__u32 len;
};
#define PACKET struct memory

static inline int copy_bytes(PACKET *packet, __u32 at, void *to, __u32 size)
{
	if (at > packet->len || size > packet->len - at)
		return -1;
	memcpy(to, packet->data + at, size);
	return 0;
}

#elif defined(FROM_MESSAGE)
#define PACKET struct sk_msg_md

/* What is sent lies in pieces: bring those asked for together first. Read by probe, so that the verifier need not follow `size`. */
static __always_inline int copy_bytes(PACKET *packet, __u32 at, void *to, __u32 size)
{
	if (bpf_msg_pull_data(packet, at, at + size, 0))
		return -1;
	return bpf_probe_read_kernel(to, size, packet->data);
}

#else
#define PACKET struct __sk_buff

static __always_inline int copy_bytes(PACKET *packet, __u32 at, void *to, __u32 size)
{
	return bpf_skb_load_bytes(packet, at, to, size);
}
#endif

#endif
