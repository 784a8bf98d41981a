"""A short conversation through a broker with Eclipse Paho. Usage: with_paho.py PORT 3|5. Any surprise ends it with status 1."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, LEVEL = int(sys.argv[1]), int(sys.argv[2])
PREFIX = f"paho{LEVEL}"
WAIT = 10


class Talker:
    """A connected client whose arrivals wait in a queue."""

    def __init__(self, name, will=None):
        self.inbox, self.acks, self.joined, self.left = (queue.Queue() for _ in range(4))
        protocol = mqtt.MQTTv5 if LEVEL == 5 else mqtt.MQTTv311
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"{PREFIX}-{name}", protocol=protocol)
        self.client.on_connect = lambda c, u, f, reason, p: self.joined.put(reason)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.left.put(reason)
        self.client.on_message = lambda c, u, message: self.inbox.put(message)
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.acks.put(reasons)
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", PORT, keepalive=30)
        self.client.loop_start()
        reason = self.joined.get(timeout=WAIT)
        assert not reason.is_failure, reason

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        reasons = self.acks.get(timeout=WAIT)
        assert [r.value for r in reasons] == [qos], (topic, reasons)

    def publish(self, topic, payload, qos, retain=False, properties=None):
        sent = self.client.publish(topic, payload, qos, retain, properties)
        sent.wait_for_publish(WAIT)
        assert sent.is_published(), (topic, qos)

    def expect(self, topic, payload, qos, retain=False):
        got = self.inbox.get(timeout=WAIT)
        assert (got.topic, got.payload, got.qos, got.retain) == (topic, payload, qos, retain), vars(got)
        return got

    def leave(self):
        # The library's thread ends by this; its loop_stop() at the same time trips over that.
        self.client.disconnect()
        reason = self.left.get(timeout=WAIT)
        assert not reason.is_failure, reason


def every_qos(a, b):
    for granted in (0, 1, 2):
        topic = f"{PREFIX}/qos/{granted}"
        a.subscribe(topic, granted)
        for sent in (0, 1, 2):
            payload = f"{sent} at {granted}".encode()
            b.publish(topic, payload, sent)
            a.expect(topic, payload, min(sent, granted))


def retained(a, b):
    topic = f"{PREFIX}/kept"
    b.publish(topic, b"last", 1, retain=True)
    a.subscribe(topic, 1)
    a.expect(topic, b"last", 1, retain=True)
    b.publish(topic, b"", 1, retain=True)
    a.expect(topic, b"", 1)


def will(a):
    topic = f"{PREFIX}/gone"
    a.subscribe(topic, 1)
    doomed = Talker("doomed", will=(topic, b"farewell", 1))
    doomed.client.socket().shutdown(2)
    a.expect(topic, b"farewell", 1)
    doomed.client.loop_stop()


def shared(a, b):
    workers = [Talker(f"worker-{n}") for n in range(2)]
    for worker in workers:
        worker.subscribe(f"$share/crew/{PREFIX}/jobs", 1)
    for n in range(20):
        b.publish(f"{PREFIX}/jobs", str(n).encode(), 1)
    a.subscribe(f"{PREFIX}/end", 1)
    b.publish(f"{PREFIX}/end", b"", 1)
    a.expect(f"{PREFIX}/end", b"", 1)
    got = []
    while len(got) < 20:
        for worker in workers:
            while True:
                try:
                    got.append((worker, int(worker.inbox.get(timeout=0.2).payload)))
                except queue.Empty:
                    break
    assert sorted(n for _, n in got) == list(range(20)), got
    assert len({worker for worker, _ in got}) == 2, "one worker had it all"
    for worker in workers:
        worker.leave()


def request_and_reply(a, b):
    asked = Properties(PacketTypes.PUBLISH)
    asked.ResponseTopic, asked.CorrelationData = f"{PREFIX}/reply", b"\x00\xffid"
    asked.UserProperty = ("unit", "°C")
    a.subscribe(f"{PREFIX}/reply", 1)
    b.subscribe(f"{PREFIX}/ask", 1)
    a.publish(f"{PREFIX}/ask", b"?", 1, properties=asked)
    question = b.expect(f"{PREFIX}/ask", b"?", 1).properties
    assert question.UserProperty == [("unit", "°C")], question
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = question.CorrelationData
    b.publish(question.ResponseTopic, b"!", 1, properties=answer)
    assert a.expect(f"{PREFIX}/reply", b"!", 1).properties.CorrelationData == b"\x00\xffid"


def large_and_foreign(a, b):
    topic, payload = f"{PREFIX}/été/温度", bytes(range(256)) * 800
    a.subscribe(f"{PREFIX}/été/+", 2)
    for qos in (0, 1, 2):
        b.publish(topic, payload, qos)
        a.expect(topic, payload, qos)


a, b = Talker("a"), Talker("b")
every_qos(a, b)
retained(a, b)
will(a)
shared(a, b)
if LEVEL == 5:
    request_and_reply(a, b)
large_and_foreign(a, b)
a.leave()
b.leave()
print("all well")
