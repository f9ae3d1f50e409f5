"""Who may connect: keys, certificates and revocation lists, read from files and kept up to date."""
