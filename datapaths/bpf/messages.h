/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The client's side: a denied request is answered 403 where it is sent, and does not reach the network.
 *
 * sk_msg holds what the application sends until a whole head is there, one head at a time. A head that a rule allows
 * goes on, and its body with it unread. A denied one is rewritten to the answer and put into the socket's own receive
 * queue. That is done only where nothing else can be read before it: every earlier request is answered and the answers
 * were read by the application. Else, or where the end of what is denied cannot be told, nothing more may be sent.
 */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "flows.h"

#define SHORT_BODY 16384 /* of a denied request: waited for and swallowed */
#define AT_ONCE (1U << 30)

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* the socket's cookie */
	__type(value, __u64);
} clients SEC(".maps");

/* Only what is read of the kernel's own; found by BTF. */
struct tcp_sock {
	__u32 copied_seq;
} __attribute__((preserve_access_index));

#define REFUSAL(more)                                                                                                  \
	"HTTP/1.1 403 Forbidden\r\n"                                                                                   \
	"Content-Length: 0\r\n"                                                                                        \
	"X-Mesh-Denied: no rule allows this request\r\n" more "\r\n"

#define KEEP REFUSAL("")
#define LAST REFUSAL("Connection: close\r\n")

/* ---- answers, so that it is known whether any is missing ---- */

static __always_inline void answer_head(struct flow *f)
{
	struct judge *j = &f->answer;

	if (j->status < 200 && j->status != 101) {
		j->skip = 0;
		j->state = BETWEEN;
		return;
	}
	if (f->answered == f->sent || j->status == 101) {
		f->lost = 1;
		return;
	}
	if (f->bodiless & 1ULL << (f->answered & 63) || j->status == 204 || j->status == 304) {
		j->skip = 0;
		j->state = BETWEEN;
	} else if (!(j->flags & (COUNTED | CHUNKED))) {
		f->lost = 1;
	}
	f->answered++;
}

/* As read_piece of policy.bpf.c, of answers. REFUSE: they cannot be told apart any more. */
ALONE int answer_piece(struct __sk_buff *skb, struct flow *f)
{
	struct judge *j;
	int event;

	if (!f)
		return REFUSE;
	j = &f->answer;
	event = read_text(j);
	if (event == BODY)
		pass_over(j);
	else if (event == HEAD_READ)
		answer_head(f);
	if (event == REFUSE || f->lost)
		return REFUSE;
	if (j->at < j->have)
		return MORE;
	if (j->position >= j->end)
		return BLOCK_END;
	if (event != BLOCK_END)
		return MORE;
	return load_packet(skb, j) ? REFUSE : MORE;
}

ALONE int answer_packet(struct __sk_buff *skb, const struct segment *g, struct flow *f)
{
	struct judge *j;
	int i, event = MORE;
	__u32 size;

	if (!g || !f)
		return 0;
	j = &f->answer;
	size = skb->len - g->payload;
	if (f->lost || !f->watched || !size || (__s32)(g->sequence + size - f->next) <= 0)
		return 0;
	if ((__s32)(f->next - g->sequence) < 0 || !take(f)) {
		f->lost = 1;
		return 0;
	}
	j->position = g->payload + (f->next - g->sequence);
	j->end = skb->len;
	for (i = 0; i < MOST_BLOCKS && event == MORE; i++)
		event = answer_piece(skb, f);
	if (event != BLOCK_END)
		f->lost = 1;
	f->next = g->sequence + size;
	__sync_lock_test_and_set(&f->busy, 0);
	return 0;
}

/* ---- requests ---- */

static __always_inline int in_order(struct sk_msg_md *msg, const struct flow *f)
{
	struct bpf_sock *sk = msg->sk;
	struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : 0;

	return tcp && !f->lost && f->sent == f->answered && f->answer.state == BETWEEN && !f->answer.skip &&
	       tcp->copied_seq == f->next;
}

/* Nothing more may be sent; the sender gets EACCES. */
static __always_inline int cut(struct flow *f)
{
	if (!f->last)
		count(CUT, 1);
	f->last = 1;
	return SK_DROP;
}

/* Make the first `from` bytes of the message `to` bytes. */
static __always_inline int fit(struct sk_msg_md *msg, __u32 from, __u32 to)
{
	if (from > to)
		return bpf_msg_pop_data(msg, to, from - to, 0);
	return from < to ? bpf_msg_push_data(msg, 0, to - from, 0) : 0;
}

/* Rewrite the first bytes of the message to an answer, and let the sender read it. */
static __always_inline int reply(struct sk_msg_md *msg, struct flow *f, __u32 bytes, const char *text, const __u32 length)
{
	__u64 key = f->cookie;
	void *data, *end;

	if (fit(msg, bytes, length) || bpf_msg_pull_data(msg, 0, length, 0))
		return SK_DROP;
	data = (void *)(long)msg->data;
	end = (void *)(long)msg->data_end;
	if (data + length > end)
		return SK_DROP;
	__builtin_memcpy(data, text, length);
	bpf_msg_apply_bytes(msg, length);
	return bpf_msg_redirect_hash(msg, &clients, &key, BPF_F_INGRESS);
}

static __always_inline int deny(struct sk_msg_md *msg, struct flow *f, __u32 why, __u32 bytes)
{
	int verdict;

	count(DENIED + (why < REASONS ? why : MALFORMED), 1);
	if (!in_order(msg, f))
		return cut(f);
	if (bytes)
		verdict = reply(msg, f, bytes, KEEP, sizeof(KEEP) - 1);
	else
		verdict = reply(msg, f, msg->size, LAST, sizeof(LAST) - 1);
	if (verdict != SK_PASS)
		return cut(f);
	count(ANSWERED, 1);
	if (!bytes)
		f->last = 1;
	return SK_PASS;
}

/* Wait for more; what is there is judged again with it. */
static __always_inline int hold(struct sk_msg_md *msg, struct judge *j, __u32 bytes)
{
	renew(j);
	bpf_msg_cork_bytes(msg, bytes);
	return SK_PASS;
}

/* A head was read to its end, which is at `at`. */
static __always_inline int whole_head(struct sk_msg_md *msg, struct flow *f, __u32 at)
{
	struct judge *j = &f->request;
	__u64 bytes = at + j->skip;

	if (j->flags & REFUSED) {
		if (j->flags & CHUNKED || bytes > SHORT_BODY)
			return deny(msg, f, RULE, 0);
		if (bytes > msg->size)
			return hold(msg, j, bytes);
		renew(j);
		return deny(msg, f, RULE, bytes);
	}
	count(ALLOWED, 1);
	f->bodiless &= ~(1ULL << (f->sent & 63));
	if (f->head)
		f->bodiless |= 1ULL << (f->sent & 63);
	if (f->sent - f->answered >= 64)
		f->lost = 1;
	f->sent++;
	if (bytes > AT_ONCE)
		bytes = AT_ONCE;
	j->skip -= bytes - at;
	bpf_msg_apply_bytes(msg, bytes);
	return SK_PASS;
}

static __always_inline int load_message(struct sk_msg_md *msg, struct judge *j)
{
	__u32 size = j->end - j->position, at = j->position;

	if (size > BLOCK)
		size = BLOCK;
	asm volatile("" : "+r"(size));
	asm volatile("" : "+r"(at));
	if (size < 1 || size > BLOCK || at > 0xffff)
		return -1;
	if (bpf_probe_read_kernel(j->text, size, (void *)(long)msg->data + at))
		return -1;
	j->position += size;
	j->at = 0;
	j->have = size;
	return 0;
}

static __always_inline int read_message(struct sk_msg_md *msg, struct flow *f)
{
	struct judge *j = &f->request;
	int i, event, head = j->state == BETWEEN;

	for (i = 0; i < 160; i++) {
		event = read_text(j);
		if (event == BLOCK_END) {
			if (j->position >= j->end)
				break;
			if (load_message(msg, j))
				return deny(msg, f, MALFORMED, 0);
			if (head && !i)
				f->head = *(__u32 *)j->text == bpf_htonl(0x48454144); /* HEAD */
			continue;
		}
		if (event == HEAD_READ)
			return whole_head(msg, f, j->position - (j->have - j->at));
		if (event == REFUSE)
			return deny(msg, f, j->reason, 0);
		if (event == BODY || event == MESSAGE_END) {
			__u64 bytes = j->position - (j->have - j->at) + j->skip;

			if (bytes > AT_ONCE)
				return deny(msg, f, TOO_LONG, 0);
			j->skip = 0;
			bpf_msg_apply_bytes(msg, bytes);
			return SK_PASS;
		}
	}
	if (!head) { /* between chunks: nothing to hold; what was not read yet comes again */
		bpf_msg_apply_bytes(msg, j->position - (j->have - j->at));
		return SK_PASS;
	}
	return msg->size >= LONGEST_HEAD ? deny(msg, f, TOO_LONG, 0) : hold(msg, j, msg->size + 1);
}

SEC("sk_msg")
int policy_message(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct flow *f = sk ? bpf_sk_storage_get(&flows, sk, 0, 0) : 0;
	const struct settings *set = rules_now(current());
	__u32 size = msg->size;
	struct judge *j;

	if (!f || !set || !set->enforce || f->opaque)
		return SK_PASS;
	if (f->last)
		return SK_DROP;
	/* What is left of a message keeps both from the part before it: it would be held again, or be cut and read twice. */
	bpf_msg_cork_bytes(msg, 0);
	bpf_msg_apply_bytes(msg, 0);
	j = &f->request;
	if (j->skip) {
		__u32 bytes = j->skip > AT_ONCE ? AT_ONCE : j->skip;

		j->skip -= bytes;
		bpf_msg_apply_bytes(msg, bytes);
		return SK_PASS;
	}
	if (size > LONGEST_HEAD + BLOCK)
		size = LONGEST_HEAD + BLOCK;
	if (bpf_msg_pull_data(msg, 0, size, 0))
		return cut(f);
	j->strict = 0;
	j->at = j->have = j->position = 0;
	j->end = size;
	return read_message(msg, f);
}

/* Passes everything: without it FIONREAD of a socket that is in a sockmap is 0, whatever waits to be read. */
SEC("sk_skb/stream_verdict")
int policy_pass(struct __sk_buff *skb)
{
	return SK_PASS;
}

/* ---- connections ---- */

/* Volatile, or clang would choose between two fields' addresses, which the verifier does not allow. */
#define WORD_OF(name) (*(volatile __u32 *)&ops->name)

static __always_inline void ends_of(struct bpf_sock_ops *ops, struct address *local, struct address *remote)
{
	__u32 here = WORD_OF(local_ip4), there = WORD_OF(remote_ip4), four = WORD_OF(family) == 2 /* AF_INET */;

	local->word[0] = WORD_OF(local_ip6[0]);
	local->word[1] = WORD_OF(local_ip6[1]);
	local->word[2] = WORD_OF(local_ip6[2]);
	local->word[3] = WORD_OF(local_ip6[3]);
	remote->word[0] = WORD_OF(remote_ip6[0]);
	remote->word[1] = WORD_OF(remote_ip6[1]);
	remote->word[2] = WORD_OF(remote_ip6[2]);
	remote->word[3] = WORD_OF(remote_ip6[3]);
	if (four) {
		mapped(local, here);
		mapped(remote, there);
	}
}

static __always_inline void watch(struct bpf_sock_ops *ops, struct flow *f)
{
	__u64 key = bpf_get_socket_cookie(ops);
	struct address local, remote;
	__u32 now = current();

	ends_of(ops, &local, &remote);
	f->request.source = identity(&local, now & 1);
	f->request.destination = identity(&remote, now & 1);
	if (!start(f->request.source, f->request.destination, now & 1))
		return;
	f->request.state = f->answer.state = BETWEEN;
	f->answer.flags = READING_ANSWERS;
	f->next = WORD_OF(rcv_nxt);
	f->watched = 1;
	f->cookie = key;
	f->lost = 0;
	bpf_sock_hash_update(ops, &clients, &key, BPF_ANY);
}

SEC("sockops")
int policy_connection(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct flow *f;

	if (ops->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return ALLOW;
	f = sk ? bpf_sk_storage_get(&flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
	if (!f)
		return ALLOW; /* answers will be taken for requests, and refused */
	f->client = 1;
	if (options.client && ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		watch(ops, f);
	return ALLOW;
}

#endif
