"""Runs the package `cicflowmeter` over a capture: its flows as CSV on standard output, its time on standard error.

Its own command hands packets over the same way, but first has tcpdump filter them (`ip and (tcp or udp)`), which this
does itself. The start of a flow is written to the microsecond, so that flows can be found again.
"""

import csv
import sys
import time

from scapy.layers.inet import IP, TCP, UDP
from scapy.utils import PcapReader

from cicflowmeter.features.packet_time import PacketTime
from cicflowmeter.flow_session import FlowSession


class Rows:
    """Takes the place of the package's writer."""

    def __init__(self):
        self.rows = []

    def write(self, row):
        self.rows.append(row)


def start_us(self):
    return int(self.flow.packets[0][0].time * 1_000_000)


def main():
    PacketTime.get_timestamp = start_us
    FlowSession.output_mode = "csv"
    FlowSession.output = "/dev/null"
    session = FlowSession()
    session.output_writer = rows = Rows()
    began = time.perf_counter()
    packets = 0
    with PcapReader(sys.argv[1]) as capture:
        for packet in capture:
            packets += 1
            if isinstance(packet.payload, IP) and (TCP in packet or UDP in packet):
                session.on_packet_received(packet)
    session.garbage_collect(None)
    print(packets, time.perf_counter() - began, file=sys.stderr)
    out = csv.writer(sys.stdout)
    if rows.rows:
        out.writerow(rows.rows[0].keys())
    for row in rows.rows:
        out.writerow(row.values())


main()
