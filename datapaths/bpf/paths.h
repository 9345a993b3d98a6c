/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The number of a request's route: of the pattern that its path matches, or of the raw path. */
#ifndef PATHS_H
#define PATHS_H

#include "maps.h"
#include "routes.h"

/* Fill in the path that was found. */
static __always_inline void path(const struct half *h, const struct walk *w, struct route *route)
{
	__u64 *to = (__u64 *)route->path;
	__u32 i, at = w->at, length = w->end - at;

	route->cut = length > PATH;
#pragma clang loop unroll(disable)
	for (i = 0; i < PATH / 8; i++) {
		__u64 v = 0;

		if (i * 8 < length && at + i * 8 <= FULL) {
			v = word(h, at + i * 8);
			if (length - i * 8 < 8)
				v &= FIRST((length - i * 8) & 7);
		}
		to[i] = v;
	}
}

/* The number of a raw path; a new one gets the next, and when there are none left the number of its method alone. */
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

/* Is the path at [w->at, w->end) the one that was asked for before? */
static __always_inline int again(const struct half *h, const struct walk *w, const struct asked *a)
{
	const __u64 *before = (const __u64 *)a->path;
	__u32 i, at = w->at, length = w->end - at;

	if (!length || a->length != length || a->method != h->method)
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < PATH / 8; i++) {
		asm volatile("" : "+r"(at));
		if (i * 8 >= length || at > FULL)
			break;
		if ((word(h, at) ^ before[i]) & (length - i * 8 < 8 ? FIRST((length - i * 8) & 7) : ~0ULL))
			return 0;
		at += 8;
	}
	return 1;
}

/* The number of the route that the path at [w->at, w->end) is; often that of the request before. */
static __always_inline __u32 route_of(struct stream *s, struct walk *w)
{
	struct half *h = &s->request;
	struct route route;
	__u32 number, length = w->end - w->at;

	if (again(h, w, &h->asked))
		return h->asked.number;
	path(h, w, &route);
	route.method = h->method;
	if (options.patterns) {
		number = matching(h, w);
		number = number ? number : h->method;
	} else {
		number = numbered(&route);
	}
	h->asked.method = h->method;
	h->asked.length = length > PATH ? 0 : length;
	h->asked.number = number;
	__builtin_memcpy(h->asked.path, route.path, PATH);
	return number;
}

#endif
