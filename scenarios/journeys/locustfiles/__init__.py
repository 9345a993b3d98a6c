"""Real locustfiles. Never imported by the lab itself: `import locust` changes sockets and threads of its process."""
