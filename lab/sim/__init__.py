"""What a cluster that nobody here owns would cost: networks of queues fed with what was measured."""
