"""Proxies under study, one a file: each turns a table of a given size (`lab.subject.Table`) into its configuration."""
