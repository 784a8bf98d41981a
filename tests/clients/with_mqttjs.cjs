// A short conversation through a broker with mqtt.js. Usage: with_mqttjs.cjs URL 4|5. Any surprise ends it with status 1.
"use strict";
const assert = require("node:assert");
const mqtt = require("mqtt");

const [url, level] = [process.argv[2], Number(process.argv[3])];
const prefix = `js${level}${url.slice(0, 2)}`;
const giveUp = setTimeout(() => { console.error("timed out"); process.exit(1); }, 60_000);

async function talker(name, will) {
  const client = await mqtt.connectAsync(url, {
    clientId: `${prefix}-${name}`, protocolVersion: level, reconnectPeriod: 0, will,
  });
  client.inbox = [];
  client.wake = () => {};
  client.on("message", (topic, payload, packet) => { client.inbox.push({ topic, payload, packet }); client.wake(); });
  return client;
}

async function subscribe(client, topic, qos) {
  const granted = await client.subscribeAsync(topic, { qos });
  assert.deepStrictEqual(granted.map((g) => g.qos), [qos]);
}

async function expect(client, topic, payload, qos, retain = false) {
  while (client.inbox.length === 0) await new Promise((resolve) => { client.wake = resolve; });
  const got = client.inbox.shift();
  assert.strictEqual(got.topic, topic);
  assert.ok(got.payload.equals(Buffer.from(payload)), `${topic}: other payload`);
  assert.deepStrictEqual([got.packet.qos, got.packet.retain], [qos, retain]);
  return got.packet.properties;
}

async function main() {
  const a = await talker("a");
  const b = await talker("b");
  for (const granted of [0, 1, 2]) {
    const topic = `${prefix}/été/${granted}`;
    await subscribe(a, topic, granted);
    for (const qos of [0, 1, 2]) {
      await b.publishAsync(topic, String(qos), { qos });
      await expect(a, topic, String(qos), Math.min(qos, granted));
    }
  }

  await b.publishAsync(`${prefix}/kept`, "last", { qos: 1, retain: true });
  await subscribe(a, `${prefix}/kept`, 1);
  await expect(a, `${prefix}/kept`, "last", 1, true);

  await subscribe(a, `${prefix}/gone`, 1);
  const doomed = await talker("doomed", { topic: `${prefix}/gone`, payload: Buffer.from("farewell"), qos: 1 });
  doomed.on("error", () => {});
  doomed.stream.destroy();
  await expect(a, `${prefix}/gone`, "farewell", 1);

  const large = Buffer.alloc(200_000, "hobnail ");
  await subscribe(a, `${prefix}/large`, 2);
  for (const qos of [0, 1, 2]) {
    await b.publishAsync(`${prefix}/large`, large, { qos });
    await expect(a, `${prefix}/large`, large, qos);
  }

  const workers = [await talker("w0"), await talker("w1")];
  for (const worker of workers) await subscribe(worker, `$share/crew/${prefix}/jobs`, 1);
  for (let n = 0; n < 20; n += 1) await b.publishAsync(`${prefix}/jobs`, String(n), { qos: 1 });
  const all = () => workers.flatMap((w) => w.inbox.map((m) => Number(m.payload)));
  while (all().length < 20) await new Promise((resolve) => { for (const w of workers) w.wake = resolve; });
  assert.deepStrictEqual(all().sort((x, y) => x - y), [...Array(20).keys()]);
  assert.ok(workers.every((w) => w.inbox.length > 0), "one worker had it all");

  if (level === 5) {
    await subscribe(a, `${prefix}/reply`, 1);
    await subscribe(b, `${prefix}/ask`, 1);
    const properties = { responseTopic: `${prefix}/reply`, correlationData: Buffer.from([0, 255]), userProperties: { unit: "°C" } };
    await a.publishAsync(`${prefix}/ask`, "?", { qos: 1, properties });
    const asked = await expect(b, `${prefix}/ask`, "?", 1);
    assert.strictEqual(asked.userProperties.unit, "°C");
    await b.publishAsync(asked.responseTopic, "!", { qos: 1, properties: { correlationData: asked.correlationData } });
    const reply = await expect(a, `${prefix}/reply`, "!", 1);
    assert.ok(reply.correlationData.equals(Buffer.from([0, 255])));
  }
  for (const client of [a, b, ...workers]) await client.endAsync();
  clearTimeout(giveUp);
  console.log("all well");
}

main().catch((error) => { console.error(error); process.exit(1); });
