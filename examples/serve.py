#!/usr/bin/env python3
"""Uploads a capture to `mitigator serve`, and prints what is found in it as it is found: serve.py CAPTURE [URL]"""
import json, os, queue, sys, threading, urllib.request

URL = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"
TOKEN = os.environ.get("MITIGATOR_TOKEN")


def ask(path, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    return urllib.request.urlopen(urllib.request.Request(URL + path, body, headers), timeout=300)


def listen(stream, events):
    for line in stream:  # A server-sent event is a line that begins with `data:`, among others.
        if line.startswith(b"data:"):
            events.put(json.loads(line[5:]))


events = queue.Queue()
stream = ask("/api/events")  # Before the upload: events are not kept for who comes later.
threading.Thread(target=listen, args=(stream, events), daemon=True).start()
with open(sys.argv[1], "rb") as capture:  # Sent in chunks, as it is read.
    answer = json.load(ask("/api/captures", capture))
left = len(answer["replay"]["verdicts"]) + (answer["flows"]["attacks"] or 0)
while left > 0:
    event = events.get(timeout=30)
    left -= event.get("missed", event.get("capture") == answer["capture"])  # Others upload, too.
    if event.get("capture") != answer["capture"]:
        continue
    what = event["flow"] if event["event"] == "flow" else event
    print(event["event"], what.get("target") or what["initiator"], what.get("vector") or what["class"])
print(f"{answer['replay']['packets']} packets, {answer['flows']['total']} flows, attack: {answer['replay']['attack']}")
