"""The studio's keys and certificates.

authority.py     issues, renews and revokes
succession.py    one authority takes over from another
certificates.py  what stands in a certificate
revocation.py    the list of what was revoked
endpoints.py     where clients find the brokers
folder.py        what is where in a folder of credentials
files.py         its files: read with errors that people understand, written whole or not at all
listing.py       everything there is, and how long it is good for
inspection.py    what is wrong in a folder
"""
