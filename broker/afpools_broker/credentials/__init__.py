"""Who may connect: keys, certificates and revocation lists, read from files and kept up to date.

live.py         who may connect now; notices what was revoked
authorities.py  the authorities that sign certificates, and their revocation lists
keys.py         CURVE key files, and what a certificate says of its owner
files.py        files that may change while the broker runs
peers.py        who is at the other end of a connection
"""
