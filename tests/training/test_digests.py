import hashlib
import struct

import torch

from llmar_pipeline.training.digests import tensor_checksum


def test_a_tensors_checksum_is_that_of_its_bytes():
    expected = hashlib.sha256(struct.pack("<4f", 1.0, -2.0, 0.5, 3.0)).hexdigest()
    tensor = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    assert tensor_checksum(tensor) == expected
    assert tensor_checksum(tensor.T.contiguous().T) == expected
    assert tensor_checksum(torch.tensor(1.0)) == hashlib.sha256(struct.pack("<f", 1.0)).hexdigest()
