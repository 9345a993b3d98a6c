"""No mesh: the pods talk to each other as the network lets them."""

from lab.datapath import Datapath


class NoMesh(Datapath):
    """The baseline. It changes nothing and sees nothing."""
