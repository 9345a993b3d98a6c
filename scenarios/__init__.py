"""The questions the lab asks, one a file, each as data that can also be run."""
