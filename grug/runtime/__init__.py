"""What all actors share: feeds, calls, clocks, supervision, the link between processes."""
