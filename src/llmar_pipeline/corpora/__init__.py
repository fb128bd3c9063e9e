from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.ntu import NTU60, NTU120
from llmar_pipeline.corpora.nwucla import NWUCLA
from llmar_pipeline.corpora.own.custom import CUSTOM
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.corpora.smarthome import SMARTHOME, SMARTHOME2D
from llmar_pipeline.corpora.uav import UAV
from llmar_pipeline.corpora.utdmhad import UTDMHAD

CORPORA: dict[str, Corpus] = {
    "ntu60": NTU60,
    "ntu120": NTU120,
    "smarthome": SMARTHOME,
    "smarthome2d": SMARTHOME2D,
    "uav": UAV,
    "nwucla": NWUCLA,
    "utdmhad": UTDMHAD,
    "custom": CUSTOM,
}

__all__ = ["CORPORA", "Corpus", "Protocol"]
