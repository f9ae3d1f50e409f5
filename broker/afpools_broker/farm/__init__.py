"""The farm: its renders and users as afserver tells of them, what they can read, and its system job."""
