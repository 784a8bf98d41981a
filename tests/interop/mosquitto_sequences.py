"""Plays Mosquitto's message sequences (test/broker/data, from 2.1 on) against our agent.

Usage: mosquitto_sequences.py FOLDER, the folder of Mosquitto's broker scripts.

Prints how many sequences end as Mosquitto's do, how many end otherwise for a reason that is stated here, and every one
that ends otherwise without. Only the last make it fail.
"""

import collections
import contextlib
import io
import re
import sys

from servers import Server

folder = sys.argv[1]
sys.path[:0] = [folder, folder + "/.."]
import mosq_test  # noqa: E402 (found only now)
import mosquitto_allowances as allowances  # noqa: E402
import msg_sequence_test as sequences  # noqa: E402

# By name or by what came, in this order.
REASONS = [
    (r"(U\+|0x)00(01|1F|7F|9F) ", "control characters are let through, which a receiver may (5: 1.5.4, 3.1.1: 1.5.3)"),
    (r"got \(e0 01 8[12]\) wanted \(e0 01 8[12]\)", "0x81 or 0x82 for a packet that is neither expected nor well formed (4.13.1)"),
    (r"got \(20 03 00 8[12] 00\) wanted \(20 03 00 8[125] 00\)", "0x81 or 0x82 for a CONNECT that is not well formed (3.2.2.2)"),
    (r"got \(20 02 00 01\) wanted \(20 03 00 84 00\)", "return code 1 to a protocol that is not known, as in 3.1.1, 3.1.2.2"),
    (r"got \(62 03 00 01 92\)", "0x92, packet identifier not found, in a PUBREL for an unsolicited PUBREC (3.6.2.1)"),
    (r"wanted \(20 .*22 00 0a 27 00 1e 84 80 21 00 14\)", "a CONNACK with our limits, and response information where it was asked for"),
    (r"topic alias > max topic alias", "11 aliases are within our limit of 32"),
    (r"0A with illegal length", "no packet is judged before its length is whole"),
]


def receive(self, sock, message):
    wanted = message.message
    got = allowances.without_reason_string(allowances.read_packet(sock))
    if got != wanted and allowances.allowance(got, wanted) is None:
        raise ValueError(f"got ({got.hex(' ')}) wanted ({wanted.hex(' ')})")


def disconnected(self, sock):
    try:
        got = allowances.read_packet(sock)
        # Version 5 may be told why (4.13.1).
        if allowances.is_refusal(got):
            got = allowances.read_packet(sock)
    except ConnectionResetError:
        got = b""
    if got and self.expect_disconnect:
        raise ValueError(f"Still connected, got ({got.hex(' ')})")


sequences.MsgSequence._recv_message = receive
sequences.MsgSequence._disconnected_check = disconnected
# What it does when one sequence is out of time; the others are worth playing all the same.
sequences.exit = lambda: None

said = io.StringIO()
with Server() as server, contextlib.redirect_stdout(said):
    sequences.do_test("localhost", server.port, "mqtt")
    alive = server.alive()

failed = [re.sub(r"\x1b\[\d*m", "", line) for line in said.getvalue().splitlines() if " failed: " in line]
total = int(re.search(r"(\d+) tests total", said.getvalue()).group(1))
counts, unexplained = collections.Counter(), []
for line in failed:
    reason = next((why for pattern, why in REASONS if re.search(pattern, line)), None)
    if reason:
        counts[reason] += 1
    else:
        unexplained.append(line)
print(f"{total - len(failed)} of {total} sequences end as Mosquitto's, {sum(counts.values())} otherwise with a reason")
for reason, count in counts.most_common():
    print(f"{count:5}  {reason}")
for line in unexplained:
    print(f"FAIL   {line}")
if not alive:
    print("FAIL   the agent is gone")
sys.exit(bool(unexplained) or not alive)
