"""Classes in our own words."""

import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.descriptions import DESCRIBED, descriptions


@pytest.mark.parametrize("corpus", DESCRIBED)
def test_every_class_is_described_in_words_of_its_own(corpus):
    known = descriptions(corpus)
    assert set(known) == set(CORPORA[corpus].class_names)
    assert len(set(known.values())) == len(known)
    assert all(len(text.split()) >= 8 for text in known.values())


def test_corpora_that_nobody_described_have_none():
    assert {"nwucla", "utdmhad"} <= set(DESCRIBED)
    assert descriptions("custom") == {}
