"""What another broker than Mosquitto may answer where Mosquitto's scripts compare every byte with its own answer.

mosquitto.py copies this beside the scripts' `mosq_test` and calls `install`, so that helpers of scripts have it too.
Every allowance is a right that MQTT 5 gives a server. Limits of its own in a CONNACK and reason strings pass without a
word; each other one leaves a line in the file that HOBNAIL_ALLOWANCES names, and mosquitto.py prints it.
"""

import os

CONNACK, PUBACK, PUBREC, PUBCOMP, DISCONNECT = 0x20, 0x40, 0x50, 0x70, 0xE0
REASON_STRING = 0x1F
# Where the properties of a version 5 answer begin, and whether an empty block of them is left out.
PROPS_AT = {
    0x20: (4, False), 0x40: (5, True), 0x50: (5, True), 0x62: (5, True), 0x70: (5, True), 0x90: (4, False),
    0xB0: (4, False), 0xE0: (3, True),
}
# A server's own limits: receive maximum, topic alias maximum, maximum packet size, session expiry.
LIMITS = (0x21, 0x22, 0x27, 0x11)
# Properties whose value has a fixed size; all others in a CONNACK begin with their length.
SIZES = {0x21: 2, 0x22: 2, 0x27: 4, 0x11: 4, 0x13: 2, 0x24: 1, 0x25: 1, 0x28: 1, 0x29: 1, 0x2A: 1}
MALFORMED, PROTOCOL_ERROR, NO_MATCHING_SUBSCRIBERS = b"\x81", b"\x82", b"\x10"
PACKET_ID_NOT_FOUND = b"\x92"


def is_whole(packet):
    """One packet of less than 128 bytes and nothing behind it."""
    return len(packet) >= 2 and packet[1] < 128 and len(packet) == 2 + packet[1]


def without_reason_string(packet):
    at, may_be_left_out = PROPS_AT.get(packet[0], (0, False)) if packet else (0, False)
    if not at or len(packet) < at + 4 or packet[at + 1] != REASON_STRING:
        return packet
    size, text = packet[at], int.from_bytes(packet[at + 2 : at + 4], "big")
    if size != 3 + text or at + 1 + size > len(packet):
        return packet
    block = b"" if may_be_left_out else b"\0"
    body = packet[2:at] + block + packet[at + 1 + size :]
    return bytes([packet[0], len(body)]) + body


def without_limits(connack):
    kept, at = connack[2:4], 5
    while at < len(connack):
        kind = connack[at]
        size = SIZES.get(kind) or 2 + int.from_bytes(connack[at + 1 : at + 3], "big")
        if kind not in LIMITS:
            kept += connack[at : at + 1 + size]
        at += 1 + size
    return kept


def allowance(received, expected):
    """None where the answers differ in more than what is allowed; else what to say of it."""
    if not is_whole(received) or not is_whole(expected) or received[0] != expected[0]:
        return None
    received = without_reason_string(received)
    if received == expected:
        return ""
    kind = expected[0]
    if kind == CONNACK and min(len(received), len(expected)) >= 5 and without_limits(received) == without_limits(expected):
        return ""
    if kind in (PUBACK, PUBREC) and expected[4:] == NO_MATCHING_SUBSCRIBERS and received[2:] == expected[2:4]:
        return "0x00 where 0x10, no matching subscribers, may be said (3.4.2.1)"
    if kind == PUBCOMP and received[4:] == PACKET_ID_NOT_FOUND and received[2:4] == expected[2:]:
        return "0x92, packet identifier not found, for a PUBREL sent again (3.7.2.1)"
    if kind == DISCONNECT and received[2:] == PROTOCOL_ERROR and expected[2:] == MALFORMED:
        return "0x82, protocol error, for a packet that can be parsed (1.2), not 0x81"
    return None


def note(allowed):
    with open(os.environ["HOBNAIL_ALLOWANCES"], "a") as noted:
        noted.write(allowed + "\n")


def read_packet(sock):
    """As long as it is, not as long as Mosquitto's would be; shorter only where the connection ends."""
    packet = b""
    while len(packet) < 2 or len(packet) < 2 + packet[1]:
        more = sock.recv(2 - len(packet) if len(packet) < 2 else 2 + packet[1] - len(packet))
        if not more:
            break
        packet += more
    return packet


def is_refusal(packet):
    return packet[:1] == b"\xe0" or packet[:1] == b"\x20" and packet[3] != 0


def install(mosq_test):
    matches_exactly, expect_exactly = mosq_test.packet_matches, mosq_test.expect_packet

    def packet_matches(name, received, expected):
        allowed = allowance(bytes(received), bytes(expected))
        if received == expected or allowed is None:
            return matches_exactly(name, received, expected)
        if allowed:
            note(allowed)
        return True

    def expect_packet(sock, name, expected):
        if expected and not is_whole(expected):
            return expect_exactly(sock, name, expected)
        received = read_packet(sock)
        if not expected and is_refusal(received):
            note("a refusal before the close (3.2.2.2, 4.13.1), not the close alone")
            received = b""
        if not received:
            # Closed: what that means is the script's to say.
            return expect_exactly(sock, name, expected)
        if not packet_matches(name, received, expected):
            raise mosq_test.TestError
        return True

    mosq_test.packet_matches, mosq_test.expect_packet = packet_matches, expect_packet
