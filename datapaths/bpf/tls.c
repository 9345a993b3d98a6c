/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What applications hand to OpenSSL, and what they get from it, as plain text.
 *
 * Probes at the entry of SSL_read, SSL_write and their _ex forms note the arguments; probes at their return know how many bytes
 * there were and copy them, as far as there is room in a record, into a ring buffer. Only processes in the cgroups of `pods` are
 * looked at; for all others on the machine that use the same library file, a probe costs its trap and one comparison a pod.
 * A connection is a process and the address of its SSL object; SSL_free ends it.
 *
 * What will break it: a program that links OpenSSL statically, or another TLS library; kernel TLS and SSL_sendfile; a second call
 * on one thread before the first has returned. Compiled by bcc with -DPODS, -DPAGES.
 */
#include <linux/ptrace.h>

#define MOST 16384 /* of one call: a TLS record. A power of two */

enum kind { BYTES_IN, BYTES_OUT, ENDED };

struct call {
	u64 ssl, buffer, length; /* length: where an _ex form puts it; 0: it is the value returned */
	u32 kind, pod;
};

struct record {
	u64 ssl, ns;
	u32 pid, pod, kind;
	u32 size; /* bytes of the call */
	u32 seen; /* of these, in data */
	u32 spare;
	char data[MOST];
};

BPF_CGROUP_ARRAY(pods, PODS);
BPF_HASH(calls, u64, struct call, 10240);
BPF_PERCPU_ARRAY(scratch, struct record, 1);
BPF_RINGBUF_OUTPUT(records, PAGES);
BPF_ARRAY(lost, u64, 2); /* records that found no room, calls that did not */

static inline void count(u32 which)
{
	int key = which;
	u64 *number = lost.lookup(&key);

	if (number)
		__sync_fetch_and_add(number, 1);
}

/* The number of the pod that the process is in; PODS: none. */
static inline u32 pod(void)
{
	u32 i;

#pragma unroll
	for (i = 0; i < PODS; i++)
		if (pods.check_current_task(i) == 1)
			return i;
	return PODS;
}

static inline int entered(u64 ssl, u64 buffer, u64 length, u32 kind)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call c = { ssl, buffer, length, kind, pod() };

	if (c.pod < PODS && calls.update(&thread, &c))
		count(1);
	return 0;
}

int enter_read(struct pt_regs *ctx)
{
	return entered(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0, BYTES_IN);
}

int enter_write(struct pt_regs *ctx)
{
	return entered(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0, BYTES_OUT);
}

int enter_read_ex(struct pt_regs *ctx)
{
	return entered(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx), BYTES_IN);
}

int enter_write_ex(struct pt_regs *ctx)
{
	return entered(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx), BYTES_OUT);
}

static inline struct record *filled(u64 ssl, u64 thread, u32 kind, u32 in)
{
	int zero = 0;
	struct record *r = scratch.lookup(&zero);

	if (!r)
		return 0;
	r->ssl = ssl;
	r->ns = bpf_ktime_get_ns();
	r->pid = thread >> 32;
	r->pod = in;
	r->kind = kind;
	r->size = r->seen = r->spare = 0;
	return r;
}

int left(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), length = 0;
	struct call *c = calls.lookup(&thread);
	s32 result = PT_REGS_RC(ctx);
	struct record *r;
	u32 size;

	if (!c)
		return 0;
	if (result > 0 && c->length)
		bpf_probe_read_user(&length, sizeof(length), (void *)c->length);
	size = c->length ? length : result;
	if (result > 0 && size && (r = filled(c->ssl, thread, c->kind, c->pod))) {
		u32 room = size > MOST ? MOST : size;

		r->size = size;
		room = ((room - 1) & (MOST - 1)) + 1; /* for the verifier, whatever became of the line above */
		if (!bpf_probe_read_user(r->data, room, (void *)c->buffer))
			r->seen = room;
		if (records.ringbuf_output(r, offsetof(struct record, data) + room, 0))
			count(0);
	}
	calls.delete(&thread);
	return 0;
}

int enter_free(struct pt_regs *ctx)
{
	u32 in = pod();
	struct record *r;

	if (in < PODS && (r = filled(PT_REGS_PARM1(ctx), bpf_get_current_pid_tgid(), ENDED, in)) &&
	    records.ringbuf_output(r, offsetof(struct record, data), 0))
		count(0);
	return 0;
}
