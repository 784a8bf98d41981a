"""Prints what MCAP's own reader finds in a recording: a line a message, and `all well`."""
import json
import struct
import sys

from mcap.exceptions import EndOfFile
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import StreamReader

channels, own = {}, {}
with open(sys.argv[1], "rb") as file:
    try:
        for record in StreamReader(file).records:
            if isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Metadata):
                own = record.metadata
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                print(json.dumps([channel.topic, channel.metadata, record.data.decode(), own], ensure_ascii=False))
                own = {}
    except (EndOfFile, struct.error):  # which of them depends on where it was cut
        print("cut")
if len(sys.argv) > 2:
    from mcap.reader import make_reader

    with open(sys.argv[1], "rb") as file:
        print("seeking:", sum(1 for _ in make_reader(file).iter_messages()))
print("all well")
