"""eBPF programs as C source, and the agent that loads, attaches and reads them."""
