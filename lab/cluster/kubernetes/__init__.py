"""The parts of a cluster that is Kubernetes: names, manifests, the client, processes, what went wrong."""
