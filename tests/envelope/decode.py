"""Opens hobnail's envelopes, from its description alone: nothing but Python's standard library, nothing of hobnail.

usage: decode.py KEYFILE NETWORK < LINES

A line is a JSON list of machine, topic and envelope in hexadecimal digits. For each, a line of JSON comes out: what the
envelope says, or {"refused": why}. The first line tells of the key itself.
"""

import hashlib
import hmac
import json
import struct
import sys

QUARTERS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
LANES = ["memory", "disk", "urgent"]


def hkdf(secret, *info):
    prk = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(prk, b"".join(info) + b"\x01", "sha256")


def rounds(state):
    def turn(a, b, d, by):
        x[a] = (x[a] + x[b]) & 0xFFFFFFFF
        mixed = x[d] ^ x[a]
        x[d] = (mixed << by | mixed >> (32 - by)) & 0xFFFFFFFF

    x = list(state)
    for _ in range(10):
        for a, b, c, d in QUARTERS:
            turn(a, b, d, 16)
            turn(c, d, b, 12)
            turn(a, b, d, 8)
            turn(c, d, b, 7)
    return x


def start(key, last):
    return struct.unpack("<16I", b"expand 32-byte k" + key + last)


def hchacha20(key, nonce):
    x = rounds(start(key, nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def block(key, counter, nonce):
    state = start(key, struct.pack("<I", counter) + nonce)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(rounds(state), state)))


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    sum = 0
    for at in range(0, len(data), 16):
        sum = (sum + int.from_bytes(data[at:at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((sum + int.from_bytes(key[16:], "little")) & (2**128 - 1)).to_bytes(16, "little")


def open_xchacha20_poly1305(key, nonce, aad, sealed):
    key, nonce = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    text, tag = sealed[:-16], sealed[-16:]
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, text))
    wanted = poly1305(block(key, 0, nonce)[:32], padded + struct.pack("<QQ", len(aad), len(text)))
    if not hmac.compare_digest(tag, wanted):
        raise ValueError("forged")
    stream = b"".join(block(key, 1 + at, nonce) for at in range(-(-len(text) // 64)))
    return bytes(a ^ b for a, b in zip(text, stream))


def read_key(path):
    lines = [line.split() for line in open(path) if line.strip() and not line.startswith("#")]
    fields = {words[0]: "".join(words[1:]) for words in lines}
    assert fields["kind"] == "network"
    key = bytes.fromhex(fields["secret"])
    link = hkdf(key, b"hobnail/1/half/link")
    fingerprint = hkdf(link, b"hobnail/1/fingerprint")[:16]
    assert fingerprint[:4].hex() == fields["id"], "the id does not fit the secret"
    return link, hkdf(key, b"hobnail/1/half/payload"), fingerprint


def decode(payload_secret, key_id, network, machine, topic, envelope):
    if len(envelope) < 72:
        raise ValueError("too short")
    version, suite, flags, key, sender, salt, order, incarnation, content_type, zero, hlc = \
        struct.unpack(">BBH4s8s16sQIHHQ", envelope[:56])
    if (version, suite, zero) != (1, 1, 0) or flags & ~15 or flags & 3 == 3 or order >> 56 > 2:
        raise ValueError("malformed")
    if key != key_id:
        raise ValueError("unknown key")
    if sender != hashlib.sha256(b"hobnail/1/sender" + network + b"\x00" + machine).digest()[:8]:
        raise ValueError("another sender")
    sender_key = hkdf(payload_secret, b"hobnail/1/sender-key", key, sender)
    aad = b"hobnail/1/msg" + network + b"\x00" + envelope[:56] + struct.pack(">H", len(topic)) + topic
    body = open_xchacha20_poly1305(sender_key, envelope[16:40], aad, envelope[56:])
    return {"key": key.hex(), "sender": sender.hex(), "salt": salt.hex(), "qos": flags & 3, "retain": bool(flags & 4),
            "clear": bool(flags & 8), "lane": LANES[order >> 56], "seq": order & (1 << 56) - 1,
            "incarnation": incarnation, "content_type": content_type, "hlc": hlc, "body": body.hex()}


def main():
    link, payload, fingerprint = read_key(sys.argv[1])
    network = sys.argv[2].encode()
    seed = hkdf(link, b"hobnail/1/link", fingerprint[:4], network, b"\x00", b"hub")
    print(json.dumps({"fingerprint": fingerprint.hex(), "link_seed_of_hub": seed.hex()}))
    for line in sys.stdin:
        machine, topic, envelope = json.loads(line)
        try:
            said = decode(payload, fingerprint[:4], network, machine.encode(), topic.encode(), bytes.fromhex(envelope))
        except ValueError as error:
            said = {"refused": str(error)}
        print(json.dumps(said))


main()
