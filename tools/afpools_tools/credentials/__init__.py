"""The studio's keys and certificates.

authority.py     issues, renews and revokes
succession.py    one authority takes over from another
progress.py      how far that has come
asking.py        what the brokers say about it
certificates.py  the contents of a certificate
revocation.py    the list of revoked certificates
endpoints.py     where clients find the brokers
folder.py        the layout of a folder of credentials
files.py         its files: read with clear errors, written completely or not at all
listing.py       all credentials, and how long they are valid
inspection.py    finds what is wrong in a folder
"""
