"""Reading what other programs wrote: pyvisa-sim's devices, pytest-reserial's and PyLabRobot's recordings, PyMeasure's
pairs. Each says what its source cannot tell: in `cannot_tell`, and once for each file as a ReadingLoss."""

from labtether.testing.readers._borrowed import Borrowed, ReadingLoss
from labtether.testing.readers._visa_device import VisaDevice
from labtether.testing.readers.pylabrobot import read_pylabrobot
from labtether.testing.readers.pymeasure import from_pairs
from labtether.testing.readers.pyvisa_sim import read_pyvisa_sim
from labtether.testing.readers.reserial import read_reserial

__all__ = [
    "Borrowed",
    "ReadingLoss",
    "VisaDevice",
    "from_pairs",
    "read_pylabrobot",
    "read_pyvisa_sim",
    "read_reserial",
]
