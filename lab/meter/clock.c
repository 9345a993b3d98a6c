// Writes down when each TCP packet with payload leaves and reaches the sockets of one cgroup, by the clock that user space reads as
// CLOCK_MONOTONIC. Which packets make up a request is worked out later, in user space: here each must cost as little as possible.
#include <linux/bpf.h>

enum { TCP = 6, PASS = 1 };

struct packet {
  u64 time_ns;
  u16 port;  // of this end
  u16 out;   // 1: leaves
  u32 payload_bytes;
};

BPF_RINGBUF_OUTPUT(packets, PAGES);
BPF_ARRAY(lost, u64, 1);

static inline int note(struct __sk_buff *skb, u16 out) {
  u64 now = bpf_ktime_get_ns();
  u8 version = 0, protocol = 0, words = 0;
  u32 header = 40;
  if (bpf_skb_load_bytes(skb, 0, &version, 1)) return PASS;
  if (version >> 4 == 4) header = (version & 15) * 4;
  if (bpf_skb_load_bytes(skb, version >> 4 == 4 ? 9 : 6, &protocol, 1) || protocol != TCP) return PASS;
  if (bpf_skb_load_bytes(skb, header + 12, &words, 1)) return PASS;
  u32 empty = header + (words >> 4) * 4;
  if (skb->len <= empty) return PASS;
  u16 port = 0;
  if (bpf_skb_load_bytes(skb, header + (out ? 0 : 2), &port, 2)) return PASS;
  struct packet *packet = packets.ringbuf_reserve(sizeof(*packet));
  if (!packet) {
    lost.increment(0);
    return PASS;
  }
  packet->time_ns = now;
  packet->port = ntohs(port);
  packet->out = out;
  packet->payload_bytes = skb->len - empty;
  packets.ringbuf_submit(packet, BPF_RB_NO_WAKEUP);
  return PASS;
}

int leaves(struct __sk_buff *skb) { return note(skb, 1); }
int arrives(struct __sk_buff *skb) { return note(skb, 0); }
