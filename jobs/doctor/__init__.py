"""What stands in the way of a run, found before it starts: `crem doctor`."""
