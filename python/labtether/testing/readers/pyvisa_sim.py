"""pyvisa-sim's files (spec 1.0 and 1.1): devices in YAML, with dialogues, properties, channels and errors. Reading them
needs PyYAML; what a device then does is in `_visa_device`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labtether.testing.readers._borrowed import tell_loss
from labtether.testing.readers._formats import Pattern, wire_bytes
from labtether.testing.readers._visa_device import SILENT, Errors, Part, Property, VisaDevice

__all__ = ["read_pyvisa_sim"]

_KINDS: dict[str, type] = {"float": float, "int": int, "str": str}
_INTERFACES = {
    "pty": ("ASRL INSTR", "USB INSTR", "GPIB INSTR", "TCPIP SOCKET", "TCPIP INSTR"),
    "tcp": ("TCPIP SOCKET", "TCPIP INSTR", "ASRL INSTR", "USB INSTR", "GPIB INSTR"),
}
_READ_NOTHING = "what it says to a host that reads and was told nothing (query_error): on a line nobody sees that"


def read_pyvisa_sim(
    path: str | Path, device: str | None = None, *, transport: str = "pty", framing: str | bytes | None = None
) -> VisaDevice:
    """One device of a pyvisa-sim file.

    device: its name in the file, or a resource such as "ASRL1::INSTR"; None if there is only one. transport: which of
    its ends of messages are taken, where a resource does not say it. framing: the end of messages both ways, instead.

    Raises OSError, ValueError for what is no such file, or if there are several devices and none is named; ImportError
    without PyYAML.
    """
    file = _File(Path(path))
    name, definition, resource = file.device(device)
    error = definition.get("error", {})
    cannot_tell: list[str] = []
    if isinstance(error, dict) and "query_error" in str(error):
        cannot_tell.append(_READ_NOTHING)
    if "connections" in definition:
        cannot_tell.append("what comes of its connections with other devices: they are not simulated")
    try:
        made = VisaDevice(
            name,
            _ends(definition, resource, transport, framing),
            _part(definition),
            [_channels(one, resource.get("channel_ids", {}).get(kind)) for kind, one in _items(definition, "channels")],
            _errors(error),
            str(definition.get("delimiter", ";")),
            tuple(cannot_tell),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise ValueError(f"{path}: device {name!r}: {_told(wrong)}") from None
    tell_loss(f"{path} [{name}]", made.cannot_tell)
    return made


def _told(wrong: Exception) -> str:
    return f"{wrong.args[0]!r} is missing" if isinstance(wrong, KeyError) else str(wrong)


class _File:
    """A file, and those it leads to."""

    def __init__(self, path: Path, bundled: bool = False) -> None:
        self.path = path
        self.bundled = bundled
        self.content = _load(path, bundled)
        self.devices = self._table("devices")
        self.resources = self._table("resources")

    def _table(self, key: str) -> dict[str, Any]:
        table = self.content.get(key) or {}
        if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
            raise ValueError(f"{self.path}: {key} is a table of tables")
        return table

    def device(self, wanted: str | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Its name, its definition with what it inherits, and the resource it was asked for by."""
        if wanted is None:
            named = list(dict.fromkeys([*self.devices, *(str(one.get("device")) for one in self.resources.values())]))
            if len(named) != 1:
                known = ", ".join([*named, *self.resources])
                raise ValueError(f"{self.path} has {len(named)} devices, name one: {known}")
            wanted = named[0]
        if wanted in self.devices:
            return wanted, self._whole(self.devices[wanted]), {}
        resource = self.resources.get(wanted)
        if resource is None:
            # A device that only a resource leads to, in another file.
            found = [one for one in self.resources.values() if one.get("device") == wanted and "filename" in one]
            if not found:
                known = ", ".join([*self.devices, *self.resources])
                raise ValueError(f"{self.path} has no device {wanted!r}; there are {known}")
            resource = found[0]
        else:
            resource = {**resource, "resource": wanted}
        name = str(resource.get("device"))
        return name, self._elsewhere(resource), resource

    def _elsewhere(self, reference: dict[str, Any]) -> dict[str, Any]:
        name, file = str(reference.get("device")), self
        if "filename" in reference:
            bundled = self.bundled or str(reference.get("bundled", "false")).lower() == "true"
            file = _File(Path(reference["filename"]) if bundled else self.path.parent / reference["filename"], bundled)
        if name not in file.devices:
            raise ValueError(f"{file.path} has no device {name!r}; there are {', '.join(file.devices)}")
        return file._whole(file.devices[name])

    def _whole(self, definition: dict[str, Any]) -> dict[str, Any]:
        """A definition on top of what it is based on."""
        whole: dict[str, Any] = {}
        for base in reversed(definition.get("bases") or ()):
            whole = _over(self._elsewhere(base), whole)
        return _over(definition, whole)


def _over(upper: dict[str, Any], lower: dict[str, Any]) -> dict[str, Any]:
    """Both: tables and lists are joined, and what `upper` says counts (of two dialogues the later one)."""
    joined = {**lower, **upper}
    for key in lower.keys() & upper.keys():
        if isinstance(lower[key], dict) and isinstance(upper[key], dict):
            joined[key] = {**lower[key], **upper[key]}
        elif isinstance(lower[key], list) and isinstance(upper[key], list):
            joined[key] = [*lower[key], *upper[key]]
    return joined


def _load(path: Path, bundled: bool) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise ImportError("pyvisa-sim's files are YAML: pip install labtether[sim], or PyYAML") from None
    try:
        # As pyvisa-sim does: every value is text until the specs say what it is.
        content = yaml.load(_bundled(path) if bundled else path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is no YAML: {error}") from None
    if not isinstance(content, dict) or "spec" not in content:
        raise ValueError(f'{path}: a file of pyvisa-sim says which it is: spec: "1.1"')
    if content["spec"] not in ("1.0", "1.1"):
        raise ValueError(f"{path}: spec is 1.0 or 1.1, not {content['spec']}")
    return content


def _bundled(path: Path) -> str:
    from importlib import resources

    try:
        return resources.files("pyvisa_sim").joinpath(path.name).read_text(encoding="utf-8")
    except ModuleNotFoundError:
        raise ValueError(f"{path} comes with pyvisa-sim, which is not installed") from None


def _items(definition: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    return list((definition.get(key) or {}).items())


def _ends(
    definition: dict[str, Any], resource: dict[str, Any], transport: str, framing: str | bytes | None
) -> tuple[bytes, bytes]:
    if framing is not None:
        end = framing.encode("latin-1") if isinstance(framing, str) else framing
        return end, end
    known = definition.get("eom") or {}
    wanted: tuple[str, ...] = _INTERFACES["pty" if transport == "pty" else "tcp"]
    if "resource" in resource:
        interface, *_, kind = str(resource["resource"]).split("::")
        wanted = (f"{interface.rstrip('0123456789')} {kind}",)
    for one in wanted:
        if one in known:
            ends = wire_bytes(known[one]["q"].strip(" ")), wire_bytes(known[one]["r"].strip(" "))
            if not ends[0]:
                raise ValueError(f"nothing ends what {one} is asked: give framing=")
            return ends
    return b"\n", b"\n"  # as pyvisa-sim does, with a line in its log


def _response(text: str | None) -> bytes | None:
    said = _said(text)
    return None if said is None else wire_bytes(said)


def _said(text: str | None) -> str | None:
    return None if text is None or text.strip(" ") == SILENT else text.strip(" ")


def _part(definition: dict[str, Any]) -> Part:
    part = Part()
    for one in definition.get("dialogues") or ():
        query = wire_bytes(one["q"].strip(" ")).decode("utf-8", "surrogateescape")
        part.dialogues[query] = _said(one.get("r"))
    for name, one in _items(definition, "properties"):
        part.properties.append(_property(name, one))
    return part


def _property(name: str, definition: dict[str, Any]) -> Property:
    made = Property(name, str(definition.get("default", "")))
    if "getter" in definition:
        made.getter = definition["getter"]["q"].strip(" "), definition["getter"]["r"].strip(" ")
    if "setter" in definition:
        setter = definition["setter"]
        made.setter = Pattern(setter["q"].strip(" ")), _response(setter.get("r")), _response(setter.get("e"))
    specs = definition.get("specs") or {}
    if specs:
        kind = _KINDS.get(str(specs.get("type")))
        if kind is None:
            raise ValueError(f"the type of {name!r} is float, int or str, not {specs.get('type')!r}")
        made.kind = kind
        made.least = kind(specs["min"]) if "min" in specs else None
        made.most = kind(specs["max"]) if "max" in specs else None
        made.valid = tuple(kind(value) for value in specs.get("valid", ()))
        if made.default:
            made.checked(made.default)
    return made


def _channels(definition: dict[str, Any], ids: Any) -> Part:
    part = _part(definition)
    part.channels = tuple(str(one) for one in ids or definition.get("ids") or ())
    part.can_select = str(definition.get("can_select")).lower() != "false"
    return part


def _errors(error: Any) -> Errors:
    if not isinstance(error, dict):
        return Errors(_response(str(error)))
    made = Errors(_response((error.get("response") or {}).get("command_error")))
    for register in error.get("status_register") or ():
        made.registers[register["q"]] = int(register.get("command_error", 0))
    for queue in error.get("error_queue") or ():
        bad = queue.get("command_error")
        made.queues[queue["q"]] = wire_bytes(queue["default"]), None if bad is None else wire_bytes(bad)
    return made
