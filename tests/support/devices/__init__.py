"""The devices of PyLabRobot's drivers, simulated: each an independent other end on a real pseudo-terminal or socket."""

from support.devices.framings import El406Frames
from support.devices.highres import LidValet, MicroSpin
from support.devices.pumping import Agrow, Masterflex, modbus_crc
from support.devices.reading import BioTek, Keyence, SpectraMax
from support.devices.remote import RemotePort
from support.devices.robots import BenchCel, PreciseFlex, Star
from support.devices.sealing import A4S, Ultraseal, XPeel
from support.devices.shaking import BigBears, GenoGrinder
from support.devices.storage import Cytomat, Heraeus, Inheco, Plc, crc8
from support.devices.washing import EL406, HT2000, el406_frame, ht2000_frame
from support.devices.weighing import Balance

__all__ = [
    "A4S",
    "EL406",
    "HT2000",
    "Agrow",
    "Balance",
    "BenchCel",
    "BigBears",
    "BioTek",
    "Cytomat",
    "El406Frames",
    "GenoGrinder",
    "Heraeus",
    "Inheco",
    "Keyence",
    "LidValet",
    "Masterflex",
    "MicroSpin",
    "Plc",
    "PreciseFlex",
    "RemotePort",
    "SpectraMax",
    "Star",
    "Ultraseal",
    "XPeel",
    "crc8",
    "el406_frame",
    "ht2000_frame",
    "modbus_crc",
]
