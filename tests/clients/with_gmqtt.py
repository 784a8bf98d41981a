"""A short conversation through a broker with gmqtt. Usage: with_gmqtt.py PORT 4|5. Any surprise ends it with status 1."""

import asyncio
import sys

import gmqtt

PORT, LEVEL = int(sys.argv[1]), int(sys.argv[2])
PREFIX = f"gmqtt{LEVEL}"
WAIT = 10


async def talker(name, will=None):
    client = gmqtt.Client(f"{PREFIX}-{name}", will_message=will)
    client.inbox, client.granted = asyncio.Queue(), asyncio.Queue()

    async def on_message(_, topic, payload, qos, properties):
        client.inbox.put_nowait((topic, bytes(payload), qos, properties))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda c, mid, granted, properties: client.granted.put_nowait(list(granted))
    await client.connect("127.0.0.1", PORT, keepalive=30, version=LEVEL)
    return client


async def subscribe(client, topic, qos):
    client.subscribe(topic, qos=qos)
    granted = await asyncio.wait_for(client.granted.get(), WAIT)
    assert granted == [qos], (topic, granted)


async def expect(client, topic, payload, qos):
    got = await asyncio.wait_for(client.inbox.get(), WAIT)
    assert got[:3] == (topic, payload, qos), got
    return got[3]


async def main():
    a, b = await talker("a"), await talker("b")
    for granted in (0, 1, 2):
        topic = f"{PREFIX}/été/{granted}"
        await subscribe(a, topic, granted)
        for sent in (0, 1, 2):
            b.publish(topic, f"{sent}", qos=sent)
            await expect(a, topic, f"{sent}".encode(), min(sent, granted))

    b.publish(f"{PREFIX}/kept", "last", qos=1, retain=True)
    await subscribe(b, f"{PREFIX}/fence", 1)
    b.publish(f"{PREFIX}/fence", "", qos=1)
    await expect(b, f"{PREFIX}/fence", b"", 1)
    await subscribe(a, f"{PREFIX}/kept", 1)
    properties = await expect(a, f"{PREFIX}/kept", b"last", 1)
    assert properties["retain"], properties

    await subscribe(a, f"{PREFIX}/gone", 1)
    doomed = await talker("doomed", gmqtt.Message(f"{PREFIX}/gone", "farewell", qos=1))
    doomed._is_active = False  # it must not come back
    doomed._connection._transport.abort()
    await expect(a, f"{PREFIX}/gone", b"farewell", 1)

    large = bytes(range(256)) * 800
    await subscribe(a, f"{PREFIX}/large/#", 2)
    for qos in (0, 1, 2):
        b.publish(f"{PREFIX}/large/one", large, qos=qos)
        await expect(a, f"{PREFIX}/large/one", large, qos)

    if LEVEL == 5:
        await subscribe(a, f"{PREFIX}/reply", 1)
        await subscribe(b, f"{PREFIX}/ask", 1)
        a.publish(f"{PREFIX}/ask", "?", qos=1, response_topic=f"{PREFIX}/reply", correlation_data=b"\x00\xffid")
        asked = await expect(b, f"{PREFIX}/ask", b"?", 1)
        b.publish(asked["response_topic"][0], "!", qos=1, correlation_data=asked["correlation_data"][0])
        reply = await expect(a, f"{PREFIX}/reply", b"!", 1)
        assert reply["correlation_data"] == [b"\x00\xffid"], reply

    await a.disconnect()
    await b.disconnect()
    print("all well")


asyncio.run(asyncio.wait_for(main(), 30))
