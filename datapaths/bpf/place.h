/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Addresses with ports, as balance.bpf.c keeps them: one shape for IPv4 and IPv6. An IPv4 address is written as IPv6
 * writes it (::ffff:a.b.c.d), so a service is the same to an IPv4 socket and to an IPv6 socket that speaks IPv4. */
#ifndef PLACE_H
#define PLACE_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct place {
	__u32 address[4]; /* network byte order, like the port */
	__u16 port;
	__u8 protocol; /* of a service; 0 in an endpoint */
	__u8 bank; /* in the keys of maps that have two: which of them; else 0 */
};

static __always_inline bool same(const struct place *a, const struct place *b)
{
	__u32 differs = (a->address[0] ^ b->address[0]) | (a->address[1] ^ b->address[1]) |
			(a->address[2] ^ b->address[2]) | (a->address[3] ^ b->address[3]);

	return !differs && a->port == b->port && a->protocol == b->protocol;
}

static __always_inline bool same_address(const __u32 *a, const __u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline bool is_ipv4(const struct place *p)
{
	return !p->address[0] && !p->address[1] && p->address[2] == bpf_htonl(0xffff);
}

/* 127.0.0.0/8 and ::1; also 0.0.0.0 and ::, by which Linux means this very pod when it is asked to connect. */
static __always_inline bool is_loopback(const struct place *p)
{
	if (is_ipv4(p))
		return !p->address[3] || (bpf_ntohl(p->address[3]) >> 24) == 127;
	return !p->address[0] && !p->address[1] && !p->address[2] && bpf_ntohl(p->address[3]) <= 1;
}

#endif
