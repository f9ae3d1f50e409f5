"""Makes the exclude mask that keeps a job on its pool, and proves it. Knows neither the store nor sockets.

exclude.py      drafts a mask in each style, and proves it
prefix_tree.py  many names as a short text
joint.py        a pool's mask joined with one that a job has already
check.py        what somebody else's mask does, and what may be wrong with it
ecmascript.py   expressions as std::regex reads them, and what they cost
matching.py     what an expression matches
"""
