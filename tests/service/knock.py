"""Connects to 127.0.0.1:1883 again and again until its standard input ends, then says what became of that, as JSON.

Each visitor says CONNECT and waits for CONNACK. `refused` is what must not happen: nobody there. `cut` is a visitor
that was let in and lost its connection before an answer.
"""

import json
import select
import socket
import sys
import time

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01k"
ANSWER_SECONDS = 20

counts = {"answered": 0, "refused": 0, "cut": 0, "longest_ms": 0}
while not select.select([sys.stdin], [], [], 0.005)[0]:
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", 1883), timeout=ANSWER_SECONDS) as visitor:
            visitor.sendall(CONNECT)
            counts["answered" if visitor.recv(4) == b"\x20\x02\x00\x00" else "cut"] += 1
    except ConnectionRefusedError:
        counts["refused"] += 1
    except OSError:
        counts["cut"] += 1
    counts["longest_ms"] = max(counts["longest_ms"], round((time.monotonic() - began) * 1000))
print(json.dumps(counts))
