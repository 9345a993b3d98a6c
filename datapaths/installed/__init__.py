"""Meshes that a Kubernetes cluster has already: found there, told which pods to take in, asked for their own counts."""
