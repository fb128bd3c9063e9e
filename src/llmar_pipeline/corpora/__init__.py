from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.ntu import NTU60, NTU120
from llmar_pipeline.corpora.nwucla import NWUCLA
from llmar_pipeline.corpora.protocol import Protocol

CORPORA: dict[str, Corpus] = {"ntu60": NTU60, "ntu120": NTU120, "nwucla": NWUCLA}

__all__ = ["CORPORA", "Corpus", "Protocol"]
