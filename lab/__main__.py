"""`python -m lab` is `mesh-lab`."""

from lab.cli import main

main()
