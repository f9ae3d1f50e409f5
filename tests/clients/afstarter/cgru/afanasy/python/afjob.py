"""Takes a scene, its first and last frame and options, as CGRU's afjob.py does, and sends a job."""

import json
import sys

import af

if __name__ == "__main__":
    if len(sys.argv) < 4:
        print("usage: afjob SCENE FIRST LAST")
        sys.exit(1)
    scene, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    options = dict(zip(sys.argv[4::2], sys.argv[5::2]))
    job = af.Job(options.get("-name", scene))
    job.setHostsMaskExclude(options.get("-hostsexcl", ""))
    job.blocks.append(af.Block("render", "generic"))
    status, data = job.send()
    print(json.dumps(data))
    if not status:
        sys.exit(1)
