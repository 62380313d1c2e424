"""Framings that a driver brings along: the user's side of the dialogues, as `lt.Framing` wants it."""

from support.devices.washing import ACK, NAK, el406_frame


class El406Frames:
    """What an EL406 sends: ACK or NAK alone, or a frame, whose body is its command as u16 and its data."""

    def encode(self, body: bytes) -> bytes:
        """With header and checksum."""
        return el406_frame(int.from_bytes(body[:2], "little"), body[2:])

    def take(self, buffer: bytearray) -> bytes | None:
        """The next whole message; None: not yet."""
        if buffer[:1] in (ACK, NAK):
            return self._off(buffer, 1)
        if len(buffer) < 11 or len(buffer) < 11 + int.from_bytes(buffer[7:9], "little"):
            return None
        frame = self._off(buffer, 11 + int.from_bytes(buffer[7:9], "little"))
        if frame != el406_frame(int.from_bytes(frame[2:4], "little"), frame[11:]):
            raise ValueError("its checksum is wrong")
        return frame[2:4] + frame[11:]

    @staticmethod
    def _off(buffer: bytearray, count: int) -> bytes:
        some = bytes(buffer[:count])
        del buffer[:count]
        return some
