"""Which reads, in which transactions, and when. Pure."""
