"""The part of CGRU's `af` that its Blender add-on uses, and as strict: masks must be regular expressions, a numeric
block must be numeric, a job without blocks cannot be sent. The server's address is where the real one reads it."""

import json
import os
import re
import socket


def _is_regex(pattern):
    try:
        re.compile(pattern)
    except re.error:
        return False
    return len(pattern) > 0


class Block:
    def __init__(self, blockname="block", service="generic"):
        self.data = {"name": blockname, "service": service, "flags": 0, "working_directory": os.getcwd()}
        self.tasks = []

    def setNumeric(self, start=1, end=1, pertask=1, increment=1):
        if end < start:
            raise ValueError(f"end ({end}) must be greater or equal to start ({start})")
        self.data.update(flags=1, frame_first=start, frame_last=end, frames_per_task=pertask, frames_inc=increment)

    def setCommand(self, command):
        self.data["command"] = command


class Job:
    def __init__(self, jobname=None):
        self.data = {"name": jobname or "noname"}
        self.blocks = []

    def setHostsMask(self, value):
        if _is_regex(value):
            self.data["hosts_mask"] = value

    def setHostsMaskExclude(self, value):
        if _is_regex(value):
            self.data["hosts_mask_exclude"] = value

    def fillBlocks(self):
        self.data["blocks"] = [block.data for block in self.blocks]

    def output(self):
        self.fillBlocks()
        print(json.dumps(self.data, sort_keys=True, indent=4))

    def send(self, verbose=False):
        self.fillBlocks()
        if any(block.data["flags"] == 0 and not block.tasks for block in self.blocks):
            return False
        self.data.setdefault("branch", self.blocks[0].data["working_directory"])
        address = os.environ["CGRU_AF_SERVERNAME"], int(os.environ["CGRU_AF_SERVERPORT"])
        body = json.dumps({"job": self.data}).encode()
        try:
            with socket.create_connection(address, 10) as connection:
                connection.sendall(b"AFANASY %d JSON%s" % (len(body), body))
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return False, None
        return True, json.loads(answer[answer.find(b"JSON") + 4 :])
