"""Test the reader of LATM with elements of each allowed form, and with forms that it refuses."""

from typing import Any

import pytest
from av import Packet

from defacer.engine.media.sound.latm import AacConfig, LatmError, LatmReader, can_repackage, read_aac_config

LC_STEREO_48K = "0001000110010000"  # object type, rate, channels, GASpecificConfig
PAYLOAD = bytes(range(1, 40))
PAYLOAD_BITS = "".join(f"{byte:08b}" for byte in PAYLOAD)


def element(config: str, body: str, same: str = "0") -> bytes:
    """Return a synchronized AudioMuxElement of these bits."""
    bits = same + config + body
    bits += "0" * (-len(bits) % 8)
    bits = f"{0x2B7:011b}{len(bits) // 8:013b}" + bits
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def mux_config(asc: str = LC_STEREO_48K, programs: int = 0, layers: int = 0, subframes: int = 0) -> str:
    counts = f"{subframes:06b}{programs:04b}{layers:03b}"
    return "0" + "1" + counts + asc + "000" + "11111111" + "0" + "0"


def length(count: int) -> str:
    return "1" * 8 * (count // 255) + f"{count % 255:08b}"


def test_payload_that_is_not_aligned_is_read() -> None:
    config, payloads = LatmReader().read(element(mux_config(), length(len(PAYLOAD)) + PAYLOAD_BITS))
    assert config == AacConfig(2, 3, 2)
    assert payloads == [PAYLOAD]


def test_long_payload_and_several_subframes_are_read() -> None:
    long = bytes(300)
    body = length(300) + "0" * 2400 + length(len(PAYLOAD)) + PAYLOAD_BITS
    assert LatmReader().read(element(mux_config(subframes=1), body))[1] == [long, PAYLOAD]


def test_later_packet_uses_the_configuration_of_an_earlier_one() -> None:
    reader, body = LatmReader(), length(len(PAYLOAD)) + PAYLOAD_BITS
    reader.read(element(mux_config(), body))
    assert reader.read(element("", body, same="1"))[1] == [PAYLOAD]


def test_adts_header_states_rate_channels_and_length() -> None:
    header = read_aac_config(bytes.fromhex("1190")).adts_header(100)
    assert header[:2] == b"\xff\xf1"
    assert (header[2] >> 6, header[2] >> 2 & 15) == (1, 3)
    assert (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5 == 107


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x56\xe0",
        element(mux_config(), length(200) + PAYLOAD_BITS),
        element(mux_config(programs=1), length(1) + "0" * 8),
        element(mux_config(layers=1), length(1) + "0" * 8),
        element(mux_config(asc="00010" "1111" + "0" * 24 + "0010" "000"), length(1) + "0" * 8),
        element("", length(1) + "0" * 8, same="1"),
        bytes(range(64)),
    ],
)  # fmt: skip
def test_damaged_or_unusual_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(LatmError):
        LatmReader().read(packet)


def test_recording_that_starts_before_a_configuration_is_repackaged() -> None:
    body = length(len(PAYLOAD)) + PAYLOAD_BITS
    packets: list[Packet[Any]] = [Packet(element("", body, same="1")), Packet(element(mux_config(), body))]
    assert can_repackage(bytes.fromhex("1190"), packets)
    assert not can_repackage(bytes.fromhex("1190"), packets[:1])
