"""Seeded faults over the smallest toy pipeline, each under a watchdog: `crem drill`."""
