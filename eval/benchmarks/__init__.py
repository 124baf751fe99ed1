"""The comprehension benchmarks, one file each: which rows they ask, how they are scored, and which figure is their own."""
