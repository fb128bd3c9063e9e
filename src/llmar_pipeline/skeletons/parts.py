"""Body parts of a joint tree: the trunk, two arms, two legs."""

from llmar_pipeline.skeletons.topology import Topology

_MIN_JOINTS = 3  # a shorter limb, such as hips without legs, has too little motion of its own


def body_parts(topology: Topology) -> dict[str, tuple[int, ...]]:
    """The trunk and the limbs; every joint belongs to exactly one.

    An arm is what hangs below a shoulder, a leg what hangs below a hip; legs that hang from the shoulders,
    for want of a spine, are no part of the arms. All else is the trunk, head included.

    Args:
        topology: Names shoulders, hips and parents.

    Returns:
        Joints of `trunk`, `left arm`, `right arm`, `left leg`, `right leg`, in ascending order; without the
        parts that the skeleton lacks.

    Source: the field's five parts (Du et al. 2015, hierarchical RNN); ours for trees without a spine.
    """
    names = ("left arm", "right arm", "left leg", "right leg")
    limbs = dict(zip((*topology.shoulders, *topology.hips), names, strict=True))

    def part(joint: int) -> str:
        while joint >= 0 and joint not in limbs:
            joint = topology.parents[joint]
        return limbs.get(joint, "trunk")

    of_joint = [part(joint) for joint in range(len(topology.joints))]
    short = {name for name in names if of_joint.count(name) < _MIN_JOINTS}
    of_joint = ["trunk" if name in short else name for name in of_joint]
    return {
        name: tuple(joint for joint, its in enumerate(of_joint) if its == name)
        for name in ("trunk", *names)
        if name in of_joint
    }
