"""The studio's keys and certificates: the authority, what it has issued, and what it has revoked."""
