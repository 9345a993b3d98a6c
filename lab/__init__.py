"""The Mesh Datapath Lab: service-mesh datapaths swapped under the same client, server and load, and measured."""
