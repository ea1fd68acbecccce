"""The benchmark of `make bench`: this shop beside its peers, by one client, in alternating rounds."""
