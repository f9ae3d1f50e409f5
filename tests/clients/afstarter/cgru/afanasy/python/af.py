"""As much of CGRU's `af` as afjob.py and we touch; it refuses what the real one refuses."""

import json
import os
import re
import socket


def is_regex(value):
    try:
        re.compile(value)
    except re.error as error:
        print(error)
        return False
    return True


class Block:
    def __init__(self, name, service):
        self.data = {"name": name, "service": service}

    def setCommand(self, command):
        self.data["command"] = command

    def setNumeric(self, start, end, pertask=1, increment=1):
        if end < start:
            print("Error: Block.setNumeric: end < start")
        self.data.update(frame_first=start, frame_last=end, frames_per_task=pertask, frames_inc=increment)


class Job:
    def __init__(self, name):
        self.data = {"name": name}
        self.blocks = []

    def setHostsMask(self, value):
        if value and is_regex(value):
            self.data["hosts_mask"] = value

    def setHostsMaskExclude(self, value):
        if value:
            self.data["hosts_mask_exclude"] = value

    def send(self, verbose=False):
        if not self.blocks:
            print("Error: Job has no blocks")
            return False
        self.data["blocks"] = [block.data for block in self.blocks]
        body = json.dumps({"job": self.data}).encode()
        try:
            address = ("127.0.0.1", int(os.environ["CGRU_AF_SERVERPORT"]))
            with socket.create_connection(address, timeout=10) as server:
                server.sendall(b"AFANASY %d JSON%s" % (len(body), body))
                answer = b"".join(iter(lambda: server.recv(65536), b""))
        except OSError as error:
            print(error)
            return False, None
        return True, json.loads(answer.partition(b"JSON")[2])
