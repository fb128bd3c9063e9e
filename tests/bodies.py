"""Bodies of any size, for tests to which joints are only numbers."""

from llmar_pipeline.skeletons.topology import Body, Topology


def chain(joints: int, persons: int = 1, coordinates: int = 3) -> Body:
    """Joints one below the other, without limbs."""
    topology = Topology(
        name=f"chain{joints}",
        joints=tuple(f"joint {number}" for number in range(joints)),
        parents=tuple(range(-1, joints - 1)),
        mirror=tuple(range(joints)),
        root=0,
        shoulders=(0, 0),
        hips=(0, 0),
        coordinates=coordinates,
    )
    return Body(topology, persons)


def one_armed(coordinates: int = 1) -> Body:
    """A trunk of three joints and a left arm of six."""
    topology = Topology(
        name="one-armed",
        joints=tuple(f"joint {number}" for number in range(9)),
        parents=(-1, 0, 0, 0, 3, 4, 5, 6, 7),
        mirror=tuple(range(9)),
        root=0,
        shoulders=(3, 1),
        hips=(2, 2),
        coordinates=coordinates,
    )
    return Body(topology, 1)
