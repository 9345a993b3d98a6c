// Counts TCP connections as they become established, by network namespace, role, other end and port.
//
// A raw tracepoint needs no tracefs. Its arguments are (struct sock *, old state, new state); the members of struct sock are read
// at offsets that the loader took from the running kernel's BTF, because the headers at hand may be of another version.
#include <linux/bpf.h>

enum { TCP_ESTABLISHED_STATE = 1, TCP_SYN_SENT_STATE = 2, IPV4 = 2 };

struct opening {
  u32 netns;   // inode number
  u32 remote;  // network order
  u16 port;    // of the other end when this end connected, else of this end; host order
  u16 active;  // 1: this end connected
};

BPF_HASH(openings, struct opening, u64, 16384);
BPF_ARRAY(lost, u64, 1);

RAW_TRACEPOINT_PROBE(inet_sock_set_state) {
  char *sk = (char *)ctx->args[0];
  if (ctx->args[2] != TCP_ESTABLISHED_STATE) return 0;
  struct opening key = {};
  char *net = 0;
  u16 family = 0, remote_port = 0, local_port = 0;
  bpf_probe_read_kernel(&family, sizeof(family), sk + SKC_FAMILY);
  bpf_probe_read_kernel(&net, sizeof(net), sk + SKC_NET);
  bpf_probe_read_kernel(&key.netns, sizeof(key.netns), net + NET_INUM);
  bpf_probe_read_kernel(&remote_port, sizeof(remote_port), sk + SKC_DPORT);
  bpf_probe_read_kernel(&local_port, sizeof(local_port), sk + SKC_NUM);
  if (family == IPV4)
    bpf_probe_read_kernel(&key.remote, sizeof(key.remote), sk + SKC_DADDR);
  key.active = ctx->args[1] == TCP_SYN_SENT_STATE;
  key.port = key.active ? ntohs(remote_port) : local_port;
  openings.increment(key);
  if (!openings.lookup(&key)) lost.increment(0);
  return 0;
}
